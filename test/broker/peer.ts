/** A client that speaks raw frames to a broker over a real WebSocket, and keeps all that it is told. */

import { WebSocket } from 'ws'
import {
  type AckEntry,
  BatchReader,
  ByteReader,
  ByteWriter,
  DOWN,
  type DownFrame,
  decodeDown,
  encodeFrame,
  LitetopicError,
  type ReplyOf,
  type RequestType,
  readAckEntry,
  UP,
  type UpFrame,
  type Welcome,
  writeAppendEntry,
} from '../../protocol/index.ts'
import { Reading } from './reading.ts'
import { Refusal } from './refusal.ts'

export type Fill = (out: ByteWriter) => void

export interface Notice {
  readonly handle: number
  readonly what: string
  readonly facts: Record<string, unknown>
}

export interface AppendPlace {
  readonly handle?: number
  readonly epoch?: number
  readonly sequence: number
  readonly fence?: number
}

interface Waiter {
  resolve(value: unknown): void
  reject(error: unknown): void
}

type ParametersOf<R extends RequestType> =
  Extract<UpFrame, { 0: R }> extends [unknown, unknown, ...infer Rest] ? Rest : never

export class Peer {
  readonly socket: WebSocket
  welcome: Welcome | null = null
  readonly notices: Notice[] = []
  /** Errors of request 0. */
  readonly errors: Refusal[] = []
  goaway: { reason: string; minDelayMs: number; maxDelayMs: number } | null = null
  closeCode: number | null = null
  /** Types of all frames that came, in order. */
  readonly order: number[] = []
  /** Parts granted and not used, by upload. */
  readonly grants = new Map<string, number>()
  /** What the broker did that it must not. */
  private fault: unknown = null
  private readonly requests = new Map<number, Waiter>()
  private readonly appends = new Map<string, Waiter[]>()
  private readonly readings = new Map<number, Reading>()
  private readonly watchers = new Set<() => void>()
  private nextRequest = 1
  private corked: Uint8Array[] | null = null

  private constructor(socket: WebSocket) {
    this.socket = socket
    socket.on('message', (data: Buffer) => {
      try {
        for (const frame of decodeDown(data)) this.receive(frame)
      } catch (error) {
        this.fault ??= error
      }
      this.changed()
    })
    socket.on('close', (code) => {
      this.closeCode = code
      const gone = new Refusal('CLOSED_SOCKET', `the socket was closed with ${code}`, {})
      for (const waiter of this.requests.values()) waiter.reject(gone)
      for (const waiters of this.appends.values()) for (const waiter of waiters) waiter.reject(gone)
      this.changed()
    })
    socket.on('error', () => undefined)
  }

  /** Connects, and says hello unless told not to. */
  static async connect(url: string, options: { hello?: boolean; token?: string } = {}): Promise<Peer> {
    const socket = new WebSocket(url, 'litetopic.v1')
    const peer = new Peer(socket)
    await new Promise((resolve, reject) => {
      socket.once('open', resolve)
      socket.once('error', reject)
    })
    if (options.hello !== false) {
      peer.send([UP.hello, 1, { client: 'test', token: options.token }])
      await peer.until(() => peer.welcome !== null)
    }
    return peer
  }

  /** Sends frames as one message. */
  send(...frames: UpFrame[]): void {
    this.sendBytes(Buffer.concat(frames.map((frame) => encodeFrame(frame))))
  }

  sendBytes(bytes: Uint8Array): void {
    if (this.corked === null) this.socket.send(bytes)
    else this.corked.push(bytes)
  }

  /** Whatever is sent meanwhile goes as one message. */
  together<T>(act: () => T): T {
    this.corked = []
    try {
      return act()
    } finally {
      const bytes = Buffer.concat(this.corked)
      this.corked = null
      if (bytes.length > 0) this.socket.send(bytes)
    }
  }

  /** The reply to a request; rejects with a Refusal. */
  ask<R extends RequestType>(type: R, ...rest: ParametersOf<R>): Promise<ReplyOf<R>> {
    return this.exchange(type, rest, () => undefined)
  }

  /** `seen` is called before anything that comes behind the reply is looked at. */
  private exchange<R extends RequestType>(
    type: R,
    rest: ParametersOf<R>,
    seen: (reply: ReplyOf<R>) => void,
  ): Promise<ReplyOf<R>> {
    const request = this.nextRequest++
    const answered = new Promise<ReplyOf<R>>((resolve, reject) => {
      const answer = (value: unknown): void => {
        seen(value as ReplyOf<R>)
        resolve(value as ReplyOf<R>)
      }
      this.requests.set(request, { resolve: answer, reject })
    })
    this.send([type, request, ...(rest as unknown[])] as unknown as UpFrame)
    answered.catch(() => undefined)
    return answered
  }

  attach(
    name: string,
    options: Extract<UpFrame, { 0: typeof UP.attach }>[4] = {},
    handle = 0,
  ): Promise<ReplyOf<typeof UP.attach>> {
    return this.ask(UP.attach, handle, name, options)
  }

  /** The base offset that the append is acknowledged with; rejects with a Refusal. */
  append({ handle = 0, epoch = 0, sequence, fence = -1 }: AppendPlace, ...records: Fill[]): Promise<number> {
    const entry = appendEntry({ handle, epoch, sequence, fence }, records)
    const key = `${handle}/${epoch}/${sequence}`
    const answered = new Promise<number>((resolve, reject) => {
      const waiter: Waiter = { resolve: (base) => resolve(base as number), reject }
      this.appends.set(key, [...(this.appends.get(key) ?? []), waiter])
    })
    this.send([UP.append, entry])
    answered.catch(() => undefined)
    return answered
  }

  /** Subscribes and collects what is delivered. */
  async read(
    from: Extract<UpFrame, { 0: typeof UP.subscribe }>[4],
    options: { raw?: boolean; creditBytes?: number; handle?: number; id?: number; regrant?: boolean } = {},
  ): Promise<Reading> {
    const id = options.id ?? this.readings.size
    const { raw, creditBytes, handle = 0 } = options
    const grant = options.regrant === false ? null : (bytes: number) => this.send([UP.credit, id, bytes])
    const reading = new Reading(id, grant)
    this.readings.set(id, reading)
    await this.exchange(UP.subscribe, [handle, id, from, { raw, creditBytes }], (reply) => reading.begin(reply))
    return reading
  }

  /** Resolves when the condition holds after something has come; rejects if the socket closes before. */
  until(condition: () => boolean): Promise<void> {
    if (condition()) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const watch = (): void => {
        const isMet = condition()
        if (!isMet && this.closeCode === null && this.fault === null) return
        this.watchers.delete(watch)
        if (this.fault !== null) reject(this.fault)
        else if (isMet) resolve()
        else reject(new Error(`the socket closed with ${this.closeCode} before what was waited for`))
      }
      this.watchers.add(watch)
    })
  }

  notice(what: string, handle = 0): Promise<void> {
    return this.until(() => this.notices.some((notice) => notice.what === what && notice.handle === handle))
  }

  /** Resolves when the broker has answered something sent now, for which it needs no store. */
  async roundTrip(): Promise<void> {
    await this.ask(UP.unsubscribe, 1_000_000)
  }

  /** Resolves with the error of request 0 that closed the connection. */
  async closedBy(): Promise<Refusal | undefined> {
    await this.until(() => this.closeCode !== null)
    return this.errors.at(-1)
  }

  private receive(frame: DownFrame): void {
    this.order.push(frame[0])
    switch (frame[0]) {
      case DOWN.partGrant:
        this.grants.set(frame[2], frame[3] === 0 ? 0 : (this.grants.get(frame[2]) ?? 0) + frame[3])
        break
      case DOWN.welcome:
        this.welcome = frame[2]
        break
      case DOWN.reply:
        this.take(frame[1])?.resolve(frame[2])
        break
      case DOWN.error: {
        const refusal = new Refusal(frame[2], frame[3], frame[4])
        if (frame[1] === 0) this.errors.push(refusal)
        else this.take(frame[1])?.reject(refusal)
        break
      }
      case DOWN.ack:
        this.acks(frame[1])
        break
      case DOWN.refuse: {
        const [, handle, epoch, sequence, code, message, details] = frame
        this.takeAppend(handle, epoch, sequence)?.reject(new Refusal(code, message, details))
        break
      }
      case DOWN.deliver:
        this.deliveries(frame[1])
        break
      case DOWN.subscriptionEnd:
        this.readings.get(frame[1])?.end(new Refusal(frame[2], frame[3], frame[4]))
        break
      case DOWN.notice:
        this.notices.push({ handle: frame[1], what: frame[2], facts: frame[3] })
        break
      case DOWN.goaway:
        this.goaway = { reason: frame[1], ...(frame[2] as { minDelayMs: number; maxDelayMs: number }) }
        break
      default:
        throw new LitetopicError('UNKNOWN_FRAME', `frame ${frame[0]} was not expected`)
    }
  }

  private take(request: number): Waiter | undefined {
    const waiter = this.requests.get(request)
    if (waiter === undefined) throw new Error(`request ${request} was answered twice, or never asked`)
    this.requests.delete(request)
    return waiter
  }

  private takeAppend(handle: number, epoch: number, sequence: number): Waiter | undefined {
    return this.appends.get(`${handle}/${epoch}/${sequence}`)?.shift()
  }

  private acks(bytes: Uint8Array): void {
    const reader = new ByteReader(bytes)
    const entry: AckEntry = { handle: 0, producerEpoch: 0, sequence: 0, base: 0 }
    while (!reader.done) {
      readAckEntry(reader, entry)
      this.takeAppend(entry.handle, entry.producerEpoch, entry.sequence)?.resolve(entry.base)
    }
  }

  private deliveries(bytes: Uint8Array): void {
    const reader = new ByteReader(bytes)
    const batch = new BatchReader(reader)
    while (!reader.done) {
      const id = reader.varint()
      const flags = reader.varint()
      batch.advance()
      this.readings.get(id)?.take(batch, flags)
    }
  }

  private changed(): void {
    for (const watch of [...this.watchers]) watch()
  }
}

/** One packed append entry. */
export function appendEntry(
  { handle = 0, epoch = 0, sequence, fence = -1 }: AppendPlace,
  records: readonly Fill[],
  count = records.length,
): Uint8Array {
  const content = new ByteWriter()
  for (const fill of records) fill(content)
  const out = new ByteWriter()
  writeAppendEntry(out, handle, epoch, sequence, fence, count, content.bytes, content.length)
  return out.copy()
}

/** The code of what a promise rejects with; `ok` if it does not. */
export async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'ok',
    (error: { code?: string }) => error.code ?? String(error),
  )
}

/** What a promise is refused with. */
export async function refusalOf(promise: Promise<unknown>): Promise<Refusal> {
  return promise.then(
    (value) => {
      throw new Error(`expected a refusal, got ${JSON.stringify(value)}`)
    },
    (error: Refusal) => error,
  )
}
