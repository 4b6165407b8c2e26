/**
 * One connection, from opening the socket to its end: says hello, packs what is to be sent into few messages, decodes what
 * comes, and notices when the other side has gone silent. Knows nothing of sessions.
 */

import {
  APPEND_HEADER_BYTES,
  asLitetopicError,
  ByteWriter,
  beginBytesFrame,
  DOWN,
  type DownFrame,
  decodeDown,
  encodeFrame,
  endBytesFrame,
  isErrorCode,
  LIMITS,
  LitetopicError,
  PROTOCOL_VERSION,
  UP,
  type UpFrame,
  type Welcome,
  writeAppendEntry,
  writePartFrame,
} from '../protocol/index.ts'
import type { Clock } from './clock.ts'
import type { Operation } from './operation.ts'
import type { Socket, SocketEvents, SocketFactory } from './socket.ts'

export interface LinkEvents {
  /** From here on frames may be sent. */
  welcomed(welcome: Welcome): void
  /** Every frame but welcome and what is about the connection itself. */
  frame(frame: DownFrame): void
  /** All frames of one message have been told. */
  messageDone(): void
  /** Once, at the end, with the broker's reason or BROKER_UNREACHABLE. */
  closed(error: LitetopicError): void
}

export interface LinkSetup {
  readonly openSocket: SocketFactory
  readonly url: string
  readonly token: string | undefined
  readonly clock: Clock
  /** For the socket to open, and again for the answer to hello. */
  readonly patienceMs: number
}

/** What hello says of the client. */
const CLIENT_NAME = 'litetopic-ts'

/** More than the head of an append frame takes. */
const APPEND_FRAME_BYTES = 16

/** What is packed begins with so much room and grows to that of a full message: most connections never fill one. */
const OUT_BYTES = 1024

/** More than the head of a part's frame takes. */
const PART_FRAME_BYTES = LIMITS.nameBytes + 40

/** Asks for an answer, any answer: browsers cannot ping. No request and no subscription has these numbers. */
export const PROBE_REQUEST = 0xffff_ffff
const PROBE: UpFrame = [UP.unsubscribe, PROBE_REQUEST, LIMITS.subscriptionsPerConnection - 1]

export class Link {
  private readonly events: LinkEvents
  private readonly clock: Clock
  private readonly socket: Socket
  private readonly out = new ByteWriter(OUT_BYTES)
  /** Where the open append frame begins in `out`, or -1. */
  private appendFrom = -1
  private welcomed = false
  /** The largest message that the broker takes. */
  private messageBytes: number = LIMITS.messageBytes
  private over = false
  private reason: LitetopicError | null = null
  private lastReceivedMs: number
  private timer: unknown

  /** Opens the socket; throws what the factory throws. */
  constructor({ openSocket, url, token, clock, patienceMs }: LinkSetup, events: LinkEvents) {
    this.events = events
    this.clock = clock
    this.lastReceivedMs = clock.nowMs()
    const told: SocketEvents = {
      opened: () => {
        if (this.over) return
        clock.clearTimeout(this.timer)
        this.timer = clock.setTimeout(() => this.giveUp('it did not answer the hello'), patienceMs)
        this.frame([UP.hello, PROTOCOL_VERSION, { token, client: CLIENT_NAME }])
        this.send()
      },
      message: (bytes) => this.receive(bytes),
      closed: (why) => this.end(new LitetopicError('BROKER_UNREACHABLE', `the connection to ${url} is lost: ${why}`)),
    }
    this.socket = openSocket(url, told, token)
    this.timer = clock.setTimeout(() => this.giveUp('the connection could not be opened in time'), patienceMs)
  }

  /** Has the network fallen behind? Then packing waits, so that what waits can still be put together. */
  get congested(): boolean {
    return this.socket.bufferedBytes > LIMITS.clientSocketBytes
  }

  /** Is there little enough on its way that a part will not keep waiting what is written after it? */
  get hasRoomForPart(): boolean {
    return this.socket.bufferedBytes < LIMITS.partBytes
  }

  /** Is there something that `send` would send? */
  get pending(): boolean {
    return this.out.length > 0
  }

  frame(frame: UpFrame): void {
    this.endAppends()
    if (frame[0] === UP.part) {
      this.makeRoom(PART_FRAME_BYTES + frame[6].length)
      writePartFrame(this.out, frame)
    } else {
      const encoded = encodeFrame(frame)
      this.makeRoom(encoded.length)
      this.out.raw(encoded)
    }
    if (this.out.length >= LIMITS.clientMessageBytes) this.send()
  }

  append(handle: number, producerEpoch: number, operation: Operation): void {
    const { out } = this
    const { records } = operation
    this.makeRoom(APPEND_FRAME_BYTES + APPEND_HEADER_BYTES + records.length)
    if (this.appendFrom < 0) this.appendFrom = beginBytesFrame(out, UP.append)
    writeAppendEntry(
      out,
      handle,
      producerEpoch,
      operation.sequence,
      operation.fence,
      operation.count,
      records.bytes,
      records.length,
    )
    if (out.length >= LIMITS.clientMessageBytes) this.send()
  }

  /** Sends what has been packed. */
  send(): void {
    if (this.out.length === 0 || this.over) return
    this.endAppends()
    this.socket.send(this.out.view())
    this.out.reset()
  }

  /** Closes in good order; `closed` follows. */
  close(): void {
    this.send()
    this.socket.close()
  }

  /** Drops the connection; `closed` is called before this returns. */
  terminate(error: LitetopicError): void {
    this.end(error)
    this.socket.terminate()
  }

  /** Sends what there is if the message would be larger than the broker takes with so much more. */
  private makeRoom(bytes: number): void {
    if (this.out.length + bytes > this.messageBytes) this.send()
  }

  private endAppends(): void {
    if (this.appendFrom < 0) return
    endBytesFrame(this.out, this.appendFrom)
    this.appendFrom = -1
  }

  private receive(bytes: Uint8Array): void {
    if (this.over) return
    this.lastReceivedMs = this.clock.nowMs()
    try {
      for (const frame of decodeDown(bytes)) {
        this.handle(frame)
        if (this.over) return
      }
    } catch (error) {
      this.terminate(asLitetopicError(error))
      return
    }
    if (this.welcomed) this.events.messageDone()
  }

  private handle(frame: DownFrame): void {
    switch (frame[0]) {
      case DOWN.welcome:
        this.welcome(frame[1], frame[2])
        return
      case DOWN.error:
        if (frame[1] === PROBE_REQUEST) return
        if (frame[1] !== 0) break
        this.reason = brokerError(frame[2], frame[3], frame[4])
        // The broker closes behind it; this makes sure of it.
        this.socket.close()
        return
      case DOWN.reply:
        if (frame[1] === PROBE_REQUEST) return
    }
    if (!this.welcomed) throw new LitetopicError('BAD_FRAME', 'a frame before welcome')
    this.events.frame(frame)
  }

  private welcome(version: number, welcome: Welcome): void {
    if (version !== PROTOCOL_VERSION) {
      throw new LitetopicError('VERSION_MISMATCH', `the broker speaks version ${version}, not ${PROTOCOL_VERSION}`)
    }
    if (this.welcomed) throw new LitetopicError('BAD_FRAME', 'a second welcome')
    this.welcomed = true
    this.clock.clearTimeout(this.timer)
    this.messageBytes = welcome.messageBytes ?? LIMITS.messageBytes
    this.watch(welcome.pingMs ?? LIMITS.pingMs)
    this.events.welcomed(welcome)
  }

  /** Asks a silent peer for an answer after `pingMs`, and gives it up after twice that. */
  private watch(pingMs: number): void {
    this.timer = this.clock.setTimeout(() => {
      const silentMs = this.clock.nowMs() - this.lastReceivedMs
      if (silentMs >= 2 * pingMs) return this.giveUp(`it was silent for ${Math.round(silentMs)} ms`)
      if (silentMs >= pingMs) {
        this.frame(PROBE)
        this.send()
      }
      this.watch(pingMs)
    }, pingMs)
  }

  private giveUp(why: string): void {
    this.terminate(new LitetopicError('BROKER_UNREACHABLE', `the broker is given up: ${why}`))
  }

  private end(error: LitetopicError): void {
    if (this.over) return
    this.over = true
    this.clock.clearTimeout(this.timer)
    this.events.closed(this.reason ?? error)
  }
}

/** An error as a broker tells it; a code of a later version becomes INTERNAL with the code in its details. */
export function brokerError(code: string, message: string, details: unknown): LitetopicError {
  const plain = (typeof details === 'object' && details !== null ? details : {}) as Readonly<Record<string, unknown>>
  if (isErrorCode(code)) return new LitetopicError(code, message, plain)
  return new LitetopicError('INTERNAL', message, { ...plain, code })
}
