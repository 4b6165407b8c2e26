/** The content of large messages as their readers get it: fetched in parts under the reader's own pace, checked at its end. */

import {
  type DataTag,
  LIMITS,
  LitetopicError,
  type RecordParts,
  type ReplyOf,
  type RequestType,
  UP,
  type UpFrame,
} from '../protocol/index.ts'
import type { Connection } from './connection.ts'
import { type Check, checked, type MessagePlace } from './decode.ts'
import { type Sha256, sha256 } from './hash.ts'
import { isPassing, retryDelayMs } from './passing.ts'
import type { LargeReadOptions, LargeStreamOptions, LargeValue } from './records.ts'
import { decodeJson, type Value } from './values.ts'

/** Where large messages are asked for. */
export interface LargeHost {
  readonly connection: Connection
  readonly handle: number
  ask<R extends RequestType>(type: R, frame: (request: number) => UpFrame): Promise<ReplyOf<R>>
}

/** Of a message, what may be kept in memory beside the part in it. */
const MESSAGE_EXCESS = 256

const TYPES = { text: 'text/plain;charset=utf-8', json: 'application/json', bytes: 'application/octet-stream' } as const

export class StoredLarge<T> implements LargeValue<T> {
  readonly size: number
  readonly tag: DataTag
  readonly #host: LargeHost
  readonly #place: MessagePlace
  readonly #parts: RecordParts
  readonly #check: Check<T> | null

  constructor(host: LargeHost, place: MessagePlace, tag: DataTag, parts: RecordParts, check: Check<T> | null) {
    this.size = parts.size
    this.tag = tag
    this.#host = host
    this.#place = place
    this.#parts = parts
    this.#check = check
  }

  stream({ from = 0, signal, onProgress }: LargeStreamOptions = {}): ReadableStream<Uint8Array> {
    const { size } = this
    if (!Number.isSafeInteger(from) || from < 0 || from > size) {
      throw new LitetopicError('BAD_REQUEST', `a message of ${size} bytes is read from 0 to ${size}, not from ${from}`)
    }
    const content = new Content(this.#host, this.#place.offset, this.#parts, from)
    let over = (): void => {}
    return new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          const aborted = (): void => {
            over()
            controller.error(signal?.reason)
          }
          over = () => {
            content.wanted = false
            signal?.removeEventListener('abort', aborted)
          }
          if (signal?.aborted) aborted()
          else signal?.addEventListener('abort', aborted)
        },
        pull: async (controller) => {
          try {
            const piece = await content.next()
            if (!content.wanted) return
            if (piece !== null) {
              onProgress?.({ receivedBytes: content.at - from, totalBytes: size - from })
              controller.enqueue(piece)
            }
            if (content.at < size) return
            over()
            controller.close()
          } catch (error) {
            over()
            throw error
          }
        },
        cancel: () => over(),
      },
      // Nothing is fetched before it is asked for.
      { highWaterMark: 0 },
    )
  }

  async bytes(options: LargeReadOptions = {}): Promise<Uint8Array> {
    const bytes = new Uint8Array(this.size)
    let at = 0
    await this.#each(options, (piece) => {
      bytes.set(piece, at)
      at += piece.length
    })
    return bytes
  }

  async text(options: LargeReadOptions = {}): Promise<string> {
    const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
    const decode = (piece?: Uint8Array): string => {
      try {
        return decoder.decode(piece, { stream: piece !== undefined })
      } catch (cause) {
        const { offset } = this.#place
        throw new LitetopicError('BAD_VALUE', `the message at offset ${offset} is not UTF-8`, { offset }, cause)
      }
    }
    let text = ''
    await this.#each(options, (piece) => {
      text += decode(piece)
    })
    return text + decode()
  }

  async json(options: LargeReadOptions = {}): Promise<T> {
    const text = await this.text(options)
    const value: Value = this.tag === 'text' ? text : decodeJson(text)
    return checked(this.#check, value, this.#place)
  }

  async blob(type: string = TYPES[this.tag], options: LargeReadOptions = {}): Promise<Blob> {
    const pieces: Uint8Array[] = []
    await this.#each(options, (piece) => pieces.push(piece))
    return new Blob(pieces, { type })
  }

  toJSON(): { readonly size: number; readonly tag: DataTag } {
    return { size: this.size, tag: this.tag }
  }

  async #each(options: LargeReadOptions, take: (piece: Uint8Array) => unknown): Promise<void> {
    const reader = this.stream(options).getReader()
    try {
      for (let next = await reader.read(); !next.done; next = await reader.read()) take(next.value)
    } catch (error) {
      await reader.cancel(error).catch(() => {})
      throw error
    }
  }
}

/** One reading: asks for some parts ahead, and gives them in order. */
class Content {
  /** Where the next piece begins. */
  at: number
  wanted = true
  private readonly host: LargeHost
  private readonly offset: number
  private readonly parts: RecordParts
  /** Null if it does not begin at the beginning: there is nothing to check it against. */
  private readonly hash: Sha256 | null
  private readonly fetches: Promise<Uint8Array>[] = []
  /** Where the next fetch begins. */
  private asked: number

  constructor(host: LargeHost, offset: number, parts: RecordParts, from: number) {
    this.host = host
    this.offset = offset
    this.parts = parts
    this.hash = from === 0 ? sha256() : null
    this.at = this.asked = from
  }

  /** The next piece, or null at the end. Rejects with STORE_CORRUPT in place of the last piece, or with what the broker refuses. */
  async next(): Promise<Uint8Array | null> {
    while (this.fetches.length < LIMITS.clientFetches && this.asked < this.parts.size)
      this.fetches.push(this.fetchNext())
    const piece = (await this.fetches.shift()) ?? null
    if (piece !== null) {
      this.at += piece.length
      this.hash?.update(piece)
    }
    if (this.at === this.parts.size) this.checkHash()
    return piece
  }

  private fetchNext(): Promise<Uint8Array> {
    const from = this.asked
    const toEndOfPart = LIMITS.partBytes - (from % LIMITS.partBytes)
    const size = Math.min(toEndOfPart, this.parts.size - from)
    this.asked += size
    const fetched = this.fetch(from, size)
    // Those behind one that fails are not awaited any more.
    fetched.catch(() => {})
    return fetched
  }

  private async fetch(from: number, size: number): Promise<Uint8Array> {
    const { host, offset } = this
    for (;;) {
      try {
        const { bytes } = await host.ask(UP.fetch, (request) => [UP.fetch, request, host.handle, offset, from, size])
        if (bytes.length === size) return ownBytes(bytes)
        const wrong = `asked for ${size} bytes of a large message from ${from} on, the broker gave ${bytes.length}`
        throw new LitetopicError('BAD_FRAME', wrong, { offset })
      } catch (error) {
        if (!(error instanceof LitetopicError) || !isPassing(error) || !this.wanted) throw error
        const { clock } = host.connection
        await new Promise<void>((resolve) => clock.setTimeout(resolve, retryDelayMs(error, clock.random())))
      }
    }
  }

  private checkHash(): void {
    const digest = this.hash?.digest()
    if (digest?.every((byte, i) => byte === this.parts.sha256[i]) !== false) return
    const { offset } = this
    throw new LitetopicError('STORE_CORRUPT', `the message at offset ${offset} is not what was appended`, { offset })
  }
}

/** A part comes as a message of its own, mostly: then its bytes are kept as they came, else they would keep the whole message. */
function ownBytes(bytes: Uint8Array): Uint8Array {
  const { buffer, byteOffset, length } = bytes
  return buffer.byteLength - length < MESSAGE_EXCESS
    ? new Uint8Array(buffer, byteOffset, length)
    : new Uint8Array(bytes)
}
