/**
 * A body of any size, taken as it comes: what fits one append stays in memory, anything more is stored in parts, each of which is
 * read from the socket only when there is memory for it.
 */

import { createHash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { Readable } from 'node:stream'
import { crc32 } from 'node:zlib'
import { type DataTag, isLitetopicError, LIMITS, LitetopicError, type RecordParts } from '../../../protocol/index.ts'
import { cutOff } from '../bodies.ts'
import type { Caller } from '../caller.ts'
import type { Face } from '../face.ts'

/** Room for what an append has beside the data of its record. */
const RECORD_BYTES = 2048

/** Bodies up to this size become a record of their own; larger ones lie beside the log. */
export const INLINE_BYTES = LIMITS.appendBytes - RECORD_BYTES

/** A request, or what is read as one. */
export type Incoming = Readable & { readonly headers: IncomingHttpHeaders }

export interface UploadOrder {
  readonly uploadId: string
  readonly tag: DataTag
  /** Record id, if the message has one. */
  readonly id: string | undefined
}

/** What came: the bytes themselves, parts that are stored, or the offset of a message of this id that is there already. */
export type Received =
  | { readonly kind: 'bytes'; readonly bytes: Buffer }
  | { readonly kind: 'parts'; readonly parts: RecordParts }
  | { readonly kind: 'known'; readonly offset: number }

/** Takes the body in. Rejects with LIMIT_EXCEEDED, BAD_VALUE, BAD_REQUEST, RATE_LIMITED, or what an upload is refused with. */
export async function receive(face: Face, caller: Caller, request: Incoming, order: UploadOrder): Promise<Received> {
  const told = request.headers['content-length']
  const size = told === undefined ? undefined : Number(told)
  const bound = face.options.maxMessageBytes
  if (size !== undefined && size > bound) throw tooLarge(size, bound)
  const source = new Source(face, request)
  try {
    const first = await source.take(INLINE_BYTES + 1)
    if (first.length <= INLINE_BYTES) return { kind: 'bytes', bytes: first }
    return await new Uploading(caller, source, order).run(first, size)
  } finally {
    source.end()
  }
}

class Uploading {
  private readonly caller: Caller
  private readonly source: Source
  private readonly order: UploadOrder
  private readonly hash = createHash('sha256')
  /** Fails for what is no UTF-8; null where anything may come. */
  private readonly text: InstanceType<typeof TextDecoder> | null
  private grants = 0
  private granted: () => void = () => undefined
  private size = 0

  constructor(caller: Caller, source: Source, order: UploadOrder) {
    this.caller = caller
    this.source = source
    this.order = order
    this.text = order.tag === 'bytes' ? null : new TextDecoder('utf-8', { fatal: true })
  }

  async run(first: Buffer, size: number | undefined): Promise<Received> {
    const { caller, order } = this
    caller.onGrant = (parts) => {
      this.grants = parts === 0 ? 0 : this.grants + parts
      if (this.grants > 0) this.granted()
    }
    const { offset } = await caller.upload({ ...order, size })
    if (offset != null) return { kind: 'known', offset }
    let piece: Buffer = Buffer.concat([first, await this.source.take(LIMITS.partBytes - first.length)])
    for (let index = 0; piece.length > 0; index++) {
      this.check(piece)
      await this.store(index, piece)
      if (piece.length < LIMITS.partBytes || this.size === size) break
      await this.grant()
      piece = await this.source.take(LIMITS.partBytes)
    }
    this.check(null)
    return { kind: 'parts', parts: { size: this.size, sha256: this.hash.digest(), uploadId: order.uploadId } }
  }

  private check(piece: Buffer | null): void {
    try {
      if (piece === null) this.text?.decode()
      else this.text?.decode(piece, { stream: true })
    } catch (cause) {
      throw new LitetopicError('BAD_VALUE', 'a body that is not UTF-8', {}, cause)
    }
    if (piece === null) return
    this.hash.update(piece)
    this.size += piece.length
  }

  /** A grant that was taken back while the part was on its way is waited for again. */
  private async store(index: number, bytes: Buffer): Promise<void> {
    const { uploadId } = this.order
    const crc = crc32(bytes)
    for (;;) {
      await this.grant()
      this.grants--
      try {
        await this.caller.part({ uploadId, index, crc, bytes })
        return
      } catch (error) {
        if (!isLitetopicError(error, 'RATE_LIMITED') || error.details.limit !== 'partMemoryBytes') throw error
      }
    }
  }

  private async grant(): Promise<void> {
    while (this.grants === 0) {
      await new Promise<void>((resolve, reject) => {
        this.granted = resolve
        // While it waits nothing is read: that the client has gone is heard all the same.
        this.source.whenCut = reject
      })
    }
  }
}

/** The body as pieces of a size asked for. What is in memory here counts with all other bodies. */
class Source {
  private readonly face: Face
  private readonly request: Incoming
  private readonly watched: ReturnType<Face['bodies']['watch']>
  private readonly held = { bodyBytes: 0 }
  private failure: LitetopicError | null = null
  private hasEnded = false
  private wake: () => void = () => undefined
  /** Told when the body can never be whole any more. */
  whenCut: (error: LitetopicError) => void = () => undefined

  constructor(face: Face, request: Incoming) {
    this.face = face
    this.request = request
    this.watched = face.bodies.watch((error) => this.fail(error))
    request.on('readable', this.moved).on('end', this.ended).on('error', this.cut).on('close', this.cut)
  }

  /** The next bytes, so many or all that are left. */
  async take(bytes: number): Promise<Buffer> {
    const pieces: Buffer[] = []
    let size = 0
    this.face.bodies.hold(this.held, bytes)
    this.watched.asleep = false
    this.watched.moved = true
    while (size < bytes) {
      if (this.failure !== null) throw this.failure
      const room = Math.min(bytes - size, this.request.readableLength)
      const piece = room === 0 ? null : (this.request.read(room) as Buffer | null)
      if (piece !== null) {
        pieces.push(piece)
        size += piece.length
      } else if (this.hasEnded) break
      else await this.next()
    }
    this.watched.asleep = true
    return Buffer.concat(pieces, size)
  }

  end(): void {
    this.request.off('readable', this.moved).off('end', this.ended).off('error', this.cut).off('close', this.cut)
    this.face.bodies.unwatch(this.watched)
    this.face.bodies.release(this.held)
    // What is left of it passes, so that the answer is heard.
    this.request.resume()
  }

  private next(): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve
      // So that its end is seen, which comes with a read that finds nothing.
      if (this.request.readableLength === 0) this.request.read(0)
    })
  }

  private readonly moved = (): void => {
    this.watched.moved = true
    // At the end there is nothing to read, and only reading tells.
    if (this.request.readableLength === 0) this.request.read()
    this.wake()
  }

  private readonly ended = (): void => {
    this.hasEnded = true
    this.wake()
  }

  private readonly cut = (): void => {
    if (!this.hasEnded) this.fail(cutOff())
  }

  private fail(error: LitetopicError): void {
    this.failure ??= error
    this.wake()
    this.whenCut(error)
  }
}

function tooLarge(value: number, bound: number): LitetopicError {
  const details = { limit: 'largeMessageBytes', value, bound }
  return new LitetopicError('LIMIT_EXCEEDED', `a message of ${value} bytes, at most ${bound}: split it`, details)
}
