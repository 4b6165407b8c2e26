/**
 * A broker by script: a real WebSocket server that answers what a test tells it to. By itself it only welcomes and attaches;
 * every other frame waits for the test to take it.
 */

import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { type WebSocket, WebSocketServer } from 'ws'
import type { Broker } from '../../client/index.ts'
import {
  ByteReader,
  ByteWriter,
  DELIVER_LIVE,
  DOWN,
  type DownFrame,
  decodeUp,
  encodeFrame,
  FORM,
  newAppendEntry,
  RecordWalker,
  readAppendEntry,
  UP,
  type Up,
  type UpFrame,
  type Welcome,
  writeAckEntry,
  writeBatchHeader,
} from '../../protocol/index.ts'

export const INCARNATION = '0123456789ab'

/** One append entry as it came. */
export interface SentEntry {
  readonly handle: number
  readonly producerEpoch: number
  readonly sequence: number
  readonly fence: number
  /** `kind:text` of each record. */
  readonly records: readonly string[]
}

type AttachAnswer = (frame: Up<typeof UP.attach>) => DownFrame | null

export class Peer {
  /** Every frame ever received, in order. */
  readonly received: UpFrame[] = []
  /** Connections so far. */
  connections = 0
  /** What welcomes; null leaves the hello to the test. */
  welcome: Partial<Welcome> | null = {}
  /** What answers attach; null leaves it to the test. */
  onAttach: AttachAnswer = (frame) => this.attached(frame[1])
  private readonly server: WebSocketServer
  private socket: WebSocket | null = null
  private taken: UpFrame[] = []
  private readonly waiting: (() => void)[] = []

  private constructor(server: WebSocketServer) {
    this.server = server
    server.on('connection', (socket) => {
      this.connections++
      this.socket = socket
      socket.on('message', (data) => this.receive(socket, data as Buffer))
      socket.on('close', () => this.changed())
      this.changed()
    })
  }

  static async start(): Promise<Peer> {
    const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
    await once(server, 'listening')
    return new Peer(server)
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.server.address() as AddressInfo).port}`
  }

  send(...frames: DownFrame[]): void {
    this.socket?.send(Buffer.concat(frames.map((frame) => Buffer.from(encodeFrame(frame)))))
  }

  /** Drops the connection without a word. */
  drop(): void {
    this.socket?.terminate()
    this.socket = null
    this.taken = []
  }

  async stop(): Promise<void> {
    for (const socket of this.server.clients) socket.terminate()
    this.server.close()
    await once(this.server, 'close')
  }

  /** The next frame of this type that has not been taken, when it comes. */
  async take<T extends UpFrame[0]>(type: T): Promise<Extract<UpFrame, readonly [T, ...unknown[]]>> {
    for (;;) {
      const at = this.taken.findIndex((frame) => frame[0] === type)
      if (at >= 0) return this.taken.splice(at, 1)[0] as Extract<UpFrame, readonly [T, ...unknown[]]>
      await this.change()
    }
  }

  /** Resolves when the condition holds; it is looked at after each frame and connection. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await this.change()
  }

  /** The entries of the next append frame. */
  async takeAppends(): Promise<SentEntry[]> {
    return entriesOf(await this.take(UP.append))
  }

  ack(entry: SentEntry, base: number): void {
    const out = new ByteWriter()
    writeAckEntry(out, entry.handle, entry.producerEpoch, entry.sequence, base)
    this.send([DOWN.ack, out.copy()])
  }

  refuse(entry: SentEntry, code: string, details: Record<string, unknown> = {}): void {
    this.send([DOWN.refuse, entry.handle, entry.producerEpoch, entry.sequence, code, code, details])
  }

  reply(request: number, value: unknown): void {
    this.send([DOWN.reply, request, value])
  }

  error(request: number, code: string, details: Record<string, unknown> = {}): void {
    this.send([DOWN.error, request, code, code, details])
  }

  /** Resolves when the client has received everything sent so far. */
  async caughtUp(broker: Broker): Promise<void> {
    const answered = broker.describe('a').catch(() => {})
    this.error((await this.take(UP.describe))[1], 'NOT_FOUND')
    await answered
  }

  /** Delivers records as one raw batch. */
  deliver(subscription: number, base: number, records: readonly ((out: ByteWriter) => void)[]): void {
    const out = new ByteWriter()
    for (const write of records) write(out)
    this.deliverBatch(subscription, FORM.raw, base, records.length, out)
  }

  deliverBatch(subscription: number, form: number, base: number, count: number, content: ByteWriter): void {
    const out = new ByteWriter()
    out.varint(subscription)
    out.varint(form === FORM.raw ? DELIVER_LIVE : 0)
    writeBatchHeader(out, form, base, count, 1_000, content.length)
    out.raw(content.view())
    this.send([DOWN.deliver, out.copy()])
  }

  /** The ordinary answer to attach, with what the test says differently. */
  attached(request: number, differences: Record<string, unknown> = {}): DownFrame {
    const reply = {
      epoch: 7,
      created: true,
      firstOffset: 0,
      nextOffset: 0,
      cursor: '',
      lingerMs: 1_000,
      producer: null,
    }
    return [DOWN.reply, request, { ...reply, ...differences }]
  }

  private receive(socket: WebSocket, data: Uint8Array): void {
    if (socket !== this.socket) return
    for (const frame of decodeUp(new Uint8Array(data))) {
      this.received.push(frame)
      if (frame[0] === UP.hello && this.welcome !== null) {
        this.send([DOWN.welcome, 1, { incarnation: INCARNATION, timeMs: 0, server: 'peer', ...this.welcome }])
        continue
      }
      const answer = frame[0] === UP.attach ? this.onAttach(frame) : null
      if (answer === null) this.taken.push(frame)
      else this.send(answer)
    }
    this.changed()
  }

  private change(): Promise<void> {
    return new Promise((resolve) => this.waiting.push(resolve))
  }

  private changed(): void {
    for (const resolve of this.waiting.splice(0)) resolve()
  }
}

export function entriesOf(frame: Up<typeof UP.append>): SentEntry[] {
  const reader = new ByteReader(frame[1])
  const entries: SentEntry[] = []
  while (!reader.done) {
    const entry = newAppendEntry()
    readAppendEntry(reader, entry)
    const { handle, producerEpoch, sequence, fence } = entry
    const walker = new RecordWalker(new ByteReader(frame[1], entry.from, entry.to))
    const records: string[] = []
    while (walker.next()) records.push(`${walker.kind}:${walker.text()}`)
    entries.push({ handle, producerEpoch, sequence, fence, records })
  }
  return entries
}
