/** Reads event streams over plain HTTP, and keeps all that came. */

import { get, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import { afterwards } from '../broker/brokers.ts'
import { eventually } from '../broker/virtual-clock.ts'
import { EventParser, type ParsedEvent } from './event-parser.ts'

export type Json = Record<string, unknown>

export class EventReader {
  readonly parser = new EventParser()
  readonly response: IncomingMessage
  /** Of an answer that is no event stream. */
  body = ''
  isOver = false

  private constructor(response: IncomingMessage) {
    this.response = response
    const isStream = response.headers['content-type'] === 'text/event-stream'
    response.on('data', (bytes: Buffer) => {
      if (isStream) this.parser.feed(bytes)
      else this.body += bytes
    })
    const over = (): void => {
      this.isOver = true
    }
    response.on('end', over)
    response.on('error', over)
    response.on('close', over)
    afterwards(async () => void response.destroy())
  }

  /** Resolves when the head of the answer is there. */
  static open(url: string, headers: Record<string, string> = {}): Promise<EventReader> {
    return new Promise((resolve, reject) => {
      get(url, { agent: false, headers }, (response) => resolve(new EventReader(response))).on('error', reject)
    })
  }

  get status(): number {
    return this.response.statusCode as number
  }

  get headers(): IncomingHttpHeaders {
    return this.response.headers
  }

  get events(): readonly ParsedEvent[] {
    return this.parser.events
  }

  /** Records of all events that have any. */
  get records(): Json[] {
    return recordsOf(this.events)
  }

  /** Waits for so many events of a name, and returns the last of them. */
  async event(name: string, count = 1): Promise<ParsedEvent & { json: Json }> {
    const found = (): ParsedEvent[] => this.events.filter(({ event }) => event === name)
    await eventually(() => found().length >= count)
    const event = found()[count - 1] as ParsedEvent
    return { ...event, json: JSON.parse(event.data) }
  }

  async until(condition: (reader: EventReader) => boolean): Promise<void> {
    await eventually(() => condition(this))
  }

  async end(): Promise<void> {
    await eventually(() => this.isOver)
  }

  close(): void {
    this.response.destroy()
  }
}

const KINDS = new Set(['message', 'token', 'context', 'checkpoint', 'stream'])

export function recordsOf(events: readonly ParsedEvent[]): Json[] {
  return events.filter(({ event }) => KINDS.has(event)).flatMap(({ data }) => JSON.parse(data) as Json[])
}

/** Text of a stream's tokens, by part. */
export function textOf(records: readonly Json[], streamId: string, part = 'text'): string {
  const own = records.filter((record) => record.streamId === streamId && record.part === part)
  return own.map(({ text }) => text).join('')
}
