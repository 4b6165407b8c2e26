/** The request to attach, on one connection. An object without closures: a client may come back with a million at once. */

import { type AttachOptions, type LitetopicError, type ReplyOf, UP, type UpFrame } from '../protocol/index.ts'
import type { Exchange } from './exchange.ts'

export type AttachReply = ReplyOf<typeof UP.attach>

interface Attacher {
  readonly name: string
  readonly handle: number
  onAttached(reply: AttachReply): void
  onRefused(error: LitetopicError): void
}

export class AttachRequest implements Exchange {
  readonly type = UP.attach
  private readonly attacher: Attacher
  private readonly options: AttachOptions

  constructor(attacher: Attacher, options: AttachOptions) {
    this.attacher = attacher
    this.options = options
  }

  frame(request: number): UpFrame {
    return [UP.attach, request, this.attacher.handle, this.attacher.name, this.options]
  }

  answered(reply: unknown): void {
    this.attacher.onAttached(reply as AttachReply)
  }

  refused(error: LitetopicError): void {
    this.attacher.onRefused(error)
  }

  /** It is asked anew on the next connection. */
  lost(): void {}
}
