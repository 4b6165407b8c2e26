/**
 * Requests whose body is taken as the parser finds it. As a stream, each has its ticks and events, which take the server as long again as
 * the body of an ordinary append.
 */

import { IncomingMessage } from 'node:http'

/** What Node looks at to see whether a request still has to be read, or must be kept; see its lib/_http_server.js. */
interface Reading {
  _consuming: unknown
  readonly _readableState: { endEmitted: unknown }
}

/** Who takes a body. */
export interface BodyTaker {
  /** The next piece, or null behind the last one. */
  take(piece: Buffer | null): void
  /** The connection is no more. */
  cut(): void
}

export class DirectRequest extends IncomingMessage {
  private taker: BodyTaker | null = null

  /** Hands over the body in place of the stream, which has nothing then. To be called as soon as the request has come. */
  takeBody(taker: BodyTaker): void {
    this.taker = taker
    ;(this as unknown as Reading)._consuming = true
  }

  override push(piece: unknown, encoding?: BufferEncoding): boolean {
    if (this.taker === null) return super.push(piece, encoding)
    this.taker.take(piece as Buffer | null)
    if (piece === null) (this as unknown as Reading)._readableState.endEmitted = true
    return true
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.taker?.cut()
    super._destroy(error, done)
  }
}
