/** A connection over HTTP by hand: real requests of Node's fetch, and all that the broker says on the answer that stays open. */

import {
  ByteWriter,
  DOWN,
  type DownFrame,
  decodeDown,
  encodeFrame,
  FRAMES_TYPE,
  MessageSplitter,
  UP,
  type UpFrame,
  writeAppendEntry,
  writeMessage,
} from '../../protocol/index.ts'
import type { HttpBroker } from './http.ts'

export const HELLO: UpFrame = [UP.hello, 1, {}]

export function messageOf(...frames: UpFrame[]): Buffer {
  return Buffer.concat(frames.map((frame) => encodeFrame(frame)))
}

/** An append of one message of text, by handle 0. */
export function appendOf(sequence: number, text: string): UpFrame {
  const records = new ByteWriter()
  writeMessage(records, { tag: 'text', value: text })
  const out = new ByteWriter()
  writeAppendEntry(out, 0, 0, sequence, -1, 1, records.bytes, records.length)
  return [UP.append, out.copy()]
}

export class RawConnection {
  /** Everything that was said. */
  readonly frames: DownFrame[] = []
  pings = 0
  /** Has the open answer ended, or broken off? */
  over = false
  readonly response: Response
  private readonly http: HttpBroker
  private readonly aborter: AbortController
  private readonly waiting: (() => void)[] = []

  private constructor(http: HttpBroker, response: Response, aborter: AbortController) {
    this.http = http
    this.response = response
    this.aborter = aborter
    void this.read()
  }

  static async open(http: HttpBroker, first = messageOf(HELLO)): Promise<RawConnection> {
    const aborter = new AbortController()
    const { signal } = aborter
    const response = await http.fetch('/v1/connections', post(first, { signal }))
    return new RawConnection(http, response, aborter)
  }

  /** Attached to a topic under handle 0, as a producer. */
  static async attached(http: HttpBroker, name: string): Promise<RawConnection> {
    const connection = await RawConnection.open(
      http,
      messageOf(HELLO, [UP.attach, 1, 0, name, { producer: 'p', create: true }]),
    )
    await connection.next(DOWN.reply)
    return connection
  }

  get path(): string {
    return `/v1/connections/${this.response.headers.get('litetopic-connection')}`
  }

  post(message: Uint8Array): Promise<Response> {
    return this.http.fetch(this.path, post(message))
  }

  /** The last frame of that type, once there are so many. */
  async next(type: DownFrame[0], count = 1): Promise<DownFrame> {
    const found = (): DownFrame[] => this.frames.filter((frame) => frame[0] === type)
    await this.until(() => found().length >= count)
    return found()[count - 1] as DownFrame
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.waiting.push(resolve))
  }

  /** Takes the open answer no further. */
  abort(): void {
    this.aborter.abort()
  }

  private async read(): Promise<void> {
    const splitter = new MessageSplitter((message) => {
      if (message.length === 0) this.pings++
      else this.frames.push(...decodeDown(message))
    })
    try {
      for await (const piece of this.response.body ?? []) {
        splitter.push(piece as Uint8Array)
        this.changed()
      }
    } catch {
      // Broken off; which the tests look at.
    }
    this.over = true
    this.changed()
  }

  private changed(): void {
    for (const resolve of this.waiting.splice(0)) resolve()
  }
}

export function post(body: Uint8Array, more: RequestInit = {}): RequestInit {
  return { method: 'POST', headers: { 'content-type': FRAMES_TYPE }, body, ...more }
}
