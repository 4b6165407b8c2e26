/**
 * Event streams (Server-Sent Events) as responses: what is to be sent is gathered while the loop runs, and a reader that does
 * not take it is not buffered for, as on WebSocket. A heartbeat keeps silent ones open, and one that is stuck is cut off.
 */

import type { OutgoingHttpHeaders, ServerResponse } from 'node:http'
import { LIMITS } from '../../protocol/index.ts'
import type { SharedMessage } from '../client.ts'
import type { Clock } from '../clock.ts'
import type { Unsent } from '../unsent.ts'
import { Outgoing, type OutgoingOwner, type OutgoingSocket } from '../ws/outgoing.ts'
import type { Outlet } from './caller-link.ts'
import { HEARTBEAT, retryText } from './event-text.ts'
import { LiveTexts } from './live-texts.ts'

/** Headers of every event stream. Nothing on its way may keep, compress or gather it. */
export const EVENT_STREAM_HEADERS = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-cache, no-store, no-transform',
  'x-accel-buffering': 'no',
  // Its connection is of no use to another request: a browser that comes back must not find one on which the broker is stopping.
  connection: 'close',
} as const

/** Heartbeats in one turn of the loop. */
const HEARTBEATS_PER_TURN = 64

/** All event streams of a broker. */
export class EventStreams {
  private readonly clock: Clock
  readonly unsent: Unsent
  private readonly open = new Set<EventStream>()
  /** Of what is delivered in this turn of the loop. */
  readonly texts = new LiveTexts()
  private dirty: EventStream[] = []
  private cancelHeartbeat: (() => void) | null = null

  constructor(clock: Clock, unsent: Unsent) {
    this.clock = clock
    this.unsent = unsent
  }

  /** The response as an event stream, which begins with `open`. */
  of(response: ServerResponse): EventStream {
    return new EventStream(response, this)
  }

  opened(stream: EventStream): void {
    this.open.add(stream)
    this.beat()
  }

  get count(): number {
    return this.open.size
  }

  /** It has something to be flushed when the loop turns. */
  gathered(stream: EventStream): void {
    if (this.dirty.length === 0) setImmediate(() => this.flush())
    this.dirty.push(stream)
  }

  closed(stream: EventStream): void {
    this.open.delete(stream)
    if (this.open.size > 0) return
    this.cancelHeartbeat?.()
    this.cancelHeartbeat = null
  }

  private flush(): void {
    const { dirty } = this
    this.dirty = []
    this.texts.clear()
    for (const stream of dirty) stream.flush()
  }

  private beat(): void {
    this.cancelHeartbeat ??= this.clock.after(LIMITS.heartbeatMs, () => {
      this.cancelHeartbeat = null
      this.beatSome([...this.open])
      if (this.open.size > 0) this.beat()
    })
  }

  private beatSome(left: EventStream[]): void {
    for (const stream of left.splice(-HEARTBEATS_PER_TURN)) stream.heartbeat()
    if (left.length > 0) setImmediate(() => this.beatSome(left))
  }
}

/** One response that is an event stream. */
export class EventStream implements Outlet, OutgoingOwner {
  private readonly response: ServerResponse
  private readonly streams: EventStreams
  private readonly socket: ResponseSocket
  private readonly outgoing: Outgoing
  private opened = false
  private ending = false
  /** Nothing was sent since the last heartbeat. */
  private silent = false
  /** For how many heartbeats its socket has taken nothing of what it was to take. */
  private stalledBeats = 0
  /** Told once when the response is over, however it ended. */
  onClose: () => void = () => undefined

  constructor(response: ServerResponse, streams: EventStreams) {
    this.response = response
    this.streams = streams
    this.socket = new ResponseSocket(response)
    this.outgoing = new Outgoing(this.socket, this, LIMITS.eventBufferBytes)
  }

  /** Answers with these headers beside its own, and `retry`: how soon a reader whose connection breaks is to come back. */
  open(headers: Readonly<Record<string, string | number | string[] | undefined>>): void {
    const { response } = this
    if (response.destroyed || this.opened) return
    this.opened = true
    // A broken connection is followed by its close.
    response.on('error', () => undefined)
    response.once('close', () => this.close())
    response.writeHead(200, { ...headers, ...EVENT_STREAM_HEADERS } as OutgoingHttpHeaders)
    response.flushHeaders()
    this.streams.opened(this)
    this.send(retryText(LIMITS.eventRetryMs))
  }

  /** Holds more than it should: what is read for it is to be read later. */
  get clogged(): boolean {
    return this.outgoing.clogged
  }

  whenUnclogged(resume: () => void): void {
    this.outgoing.whenUnclogged(resume)
  }

  /** Sends the text of events. */
  send(text: string): void {
    if (this.isOpen && text !== '') this.outgoing.frame(Buffer.from(text))
  }

  /** The same text as other event streams are sent. */
  share(message: SharedMessage): void {
    // An empty chunk would end the response.
    if (this.isOpen && message.bytes.length > 0) this.outgoing.share(message)
  }

  /** Sends the text, and ends the response behind all that was sent. */
  end(text = ''): void {
    if (!this.isOpen) return
    this.send(text)
    this.ending = true
    this.outgoing.flush()
    this.response.end()
  }

  /** Has it begun, and not been ended? */
  get isOpen(): boolean {
    return this.opened && !this.ending
  }

  /** Ends it at once, and its connection. */
  cut(): void {
    this.response.destroy()
  }

  /** A comment, if it was silent since the last time. One whose reader takes nothing is cut off after `eventStuckMs`. */
  heartbeat(): void {
    if (this.socket.bufferedAmount > 0) {
      if (++this.stalledBeats * LIMITS.heartbeatMs > LIMITS.eventStuckMs) this.cut()
    } else if (this.silent) this.send(HEARTBEAT)
    this.silent = true
  }

  flush(): void {
    this.outgoing.flush()
  }

  get congested(): boolean {
    return this.streams.unsent.congested
  }

  held(bytes: number): void {
    this.streams.unsent.held(bytes)
  }

  gathered(): void {
    this.silent = false
    this.streams.gathered(this)
  }

  unloaded(): void {
    this.stalledBeats = 0
  }

  private close(): void {
    this.ending = true
    this.outgoing.end()
    this.streams.closed(this)
    this.onClose()
  }
}

/** A response, and the socket beneath it, as what is outgoing sees them. */
class ResponseSocket implements OutgoingSocket {
  private readonly response: ServerResponse

  constructor(response: ServerResponse) {
    this.response = response
  }

  get bufferedAmount(): number {
    return this.response.writableLength
  }

  send(message: Uint8Array, done: () => void): void {
    this.response.write(message, done)
  }

  /**
   * Written to the socket past node:http, which hands the system several pieces for each: with a thousand readers that is most of the
   * work. The socket is there as soon as nothing of an earlier request of its connection lies before the response.
   */
  share(message: SharedMessage, done: () => void): void {
    const { response } = this
    const { socket } = response
    if (socket === null || !response.chunkedEncoding) {
      response.write(message.bytes, done)
      return
    }
    message.wire ??= chunk(message.bytes)
    socket.write(message.wire, done)
  }
}

/** A chunk of a chunked response. */
function chunk(bytes: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')])
}
