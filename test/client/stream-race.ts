/**
 * Agents that open, continue, write, end and stop the same few streams at the same time, over networks that are cut and a
 * broker that is killed; and what must be true of the log afterwards: every stream has ended once, and everybody was told
 * the truth.
 */

import { expect } from 'vitest'
import { type Broker, connect, type Session, type SessionRecord, type StreamWriter } from '../../client/index.ts'
import { FaultyNetwork } from './faulty-network.ts'

export type Move =
  | { readonly do: 'open' | 'continue' | 'stop'; readonly agent: number; readonly stream: number }
  | { readonly do: 'write' | 'end' | 'fail'; readonly agent: number; readonly writer: number }
  | { readonly do: 'cut'; readonly agent: number }
  | { readonly do: 'kill' | 'lose' | 'turns' }

/** A writer, and what it did. */
interface Written {
  readonly writer: StreamWriter
  readonly number: number
  tokens: number
}

export const AGENTS = 3
export const STREAMS = 2

export class StreamRace {
  readonly networks: FaultyNetwork[] = []
  private readonly brokers: Broker[] = []
  private readonly sessions: Session[] = []
  private readonly written: Written[] = []
  private readonly underWay: Promise<unknown>[] = []
  /** What was told of each stream's end: its state, and for `done` and `failed` the number of the writer. */
  private readonly told = new Map<string, Set<string>>()

  async open(url: string, topic: string): Promise<void> {
    for (let agent = 0; agent < AGENTS; agent++) {
      const network = new FaultyNetwork()
      this.networks.push(network)
      const broker = connect(url, { webSocket: network.open, reconnect: { minMs: 1, maxMs: 5 } })
      this.brokers.push(broker)
      this.sessions.push(await broker.session(topic))
    }
  }

  /** Does the move without waiting for what becomes of it. */
  move(move: Move): void {
    if ('stream' in move) this.act(move.do, this.sessions[move.agent] as Session, `s${move.stream}`)
    else if ('writer' in move) this.write(move.do, move.writer)
    else if (move.do === 'cut') this.networks[move.agent]?.cut()
  }

  /** Ends what is open, waits for all that was asked, and holds the log against what was told. */
  async check(streams = STREAMS): Promise<void> {
    for (let stream = 0; stream < streams; stream++) this.act('stop', this.sessions[0] as Session, `s${stream}`)
    await Promise.all(this.underWay)
    const records = await this.log()
    for (let stream = 0; stream < streams; stream++) this.checkStream(`s${stream}`, records)
  }

  async close(): Promise<void> {
    await Promise.all(this.brokers.map((broker) => broker.close().catch(() => undefined)))
  }

  private act(what: 'open' | 'continue' | 'stop', session: Session, streamId: string): void {
    if (what === 'stop') {
      const stopped = session.stop(streamId).then((streams) => {
        for (const { state, detail } of streams) this.tell(streamId, state, detail)
      })
      this.underWay.push(stopped)
      return
    }
    const opening = what === 'open' ? session.openStream(streamId) : session.continue(streamId)
    const opened = opening.then((writer) => {
      this.written.push({ writer, number: this.written.length, tokens: 0 })
    })
    this.underWay.push(opened.catch(refusedAs('STREAM_EXISTS', 'STREAM_UNKNOWN', 'STREAM_ENDED', ...OVER)))
  }

  private write(what: 'write' | 'end' | 'fail', at: number): void {
    const written = this.written[this.written.length - 1 - (at % Math.max(this.written.length, 1))]
    if (written === undefined) return
    const { writer, number } = written
    if (what === 'write') {
      try {
        writer.write(`${number}:${written.tokens};`)
        written.tokens++
      } catch (error) {
        refusedAs('STREAM_ENDED', ...OVER)(error)
      }
      return
    }
    const state = what === 'end' ? 'done' : 'failed'
    const ending = what === 'end' ? writer.end({ message: `${number}` }) : writer.fail(`${number}`)
    const ended = ending.then(() => this.tell(writer.id, state, JSON.stringify({ message: `${number}` })))
    this.underWay.push(ended.catch(refusedAs('STREAM_ENDED', ...OVER)))
  }

  private tell(streamId: string, state: string, detail: string | null | undefined): void {
    const told = this.told.get(streamId) ?? new Set()
    told.add(`${state} ${detail ?? null}`)
    this.told.set(streamId, told)
  }

  private async log(): Promise<SessionRecord[]> {
    const session = this.sessions[0] as Session
    const { nextOffset } = await session.describe()
    const records: SessionRecord[] = []
    for await (const record of session.records({ raw: true })) {
      records.push(record)
      if (record.offset === nextOffset - 1) break
    }
    return records
  }

  private checkStream(streamId: string, records: readonly SessionRecord[]): void {
    const mine = records.filter((record) => 'streamId' in record && record.streamId === streamId)
    const states = mine.flatMap((record) => (record.kind === 'stream' ? [record.state] : []))
    const ends = mine.filter((record) => record.kind === 'stream' && ENDS.includes(record.state))
    expect(ends, `ends of ${streamId}: ${states}`).toHaveLength(1)
    const [last] = mine.slice(-1)
    expect(last, 'nothing comes behind the end').toBe(ends[0])
    expect(['open', 'stopped']).toContain(states[0])
    if (last?.kind !== 'stream') return
    const detail = last.detail === undefined ? null : JSON.stringify(last.detail)
    expect([...(this.told.get(streamId) ?? [])], 'everybody was told the same end').toEqual([`${last.state} ${detail}`])
    this.checkTokens(streamId, mine)
  }

  /** Of each writer the first tokens that it wrote, in order, and none behind the record that gave the fence to another. */
  private checkTokens(streamId: string, records: readonly SessionRecord[]): void {
    const fences = this.written.filter(({ writer }) => writer.id === streamId).map(({ writer }) => writer.fence)
    const seen = new Map<number, number>()
    for (const record of records) {
      if (record.kind !== 'token') continue
      for (const text of (record.text ?? '').split(';').slice(0, -1)) {
        const [number = -1, token] = text.split(':').map(Number)
        const { fence = -1 } = this.written[number]?.writer ?? {}
        const newest = Math.max(...fences.filter((other) => other < record.offset))
        expect(fence, `token ${text} at ${record.offset} is of the newest writer then`).toBe(newest)
        expect(token, `tokens of writer ${number} come once and in order`).toBe(seen.get(number) ?? 0)
        seen.set(number, (token ?? 0) + 1)
      }
    }
  }
}

const ENDS: readonly string[] = ['done', 'failed', 'stopped']
/** What a writer is told that may not go on. */
const OVER = ['STREAM_STOPPED', 'FENCED'] as const

function refusedAs(...codes: readonly string[]): (error: unknown) => void {
  return (error) => expect(codes).toContain((error as { code?: string }).code)
}
