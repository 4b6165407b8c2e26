/** Writes one token stream whose tokens and end are sealed. */

import type { RecordData } from '../../protocol/index.ts'
import {
  type Json,
  LitetopicError,
  type PipeSource,
  pipe,
  type Stored,
  type StreamWriter,
  type WriteOptions,
} from '../index.ts'
import { cutText, HeldSurrogates } from '../surrogates.ts'
import { encodeJson } from '../values.ts'
import { base64 } from './base64.ts'
import { type Seal, SealWriter } from './seal.ts'

/** UTF-16 units, or bytes, that may wait to be sealed before the writer should wait. */
const UNSEALED_UNITS = 262_144
/** Units of text in one token. */
const TOKEN_UNITS = 16_384
const DEFAULT_PART = 'text'
/** Of the message of a failure, so many UTF-16 units are kept: sealed, and as text, it is longer. */
const FAILURE_UNITS = 512

interface Waiting {
  readonly data: RecordData
  readonly part: string
}

/** As a stream writer of a plain session. `write` seals in the background: its errors show in the next write, `flush` and `end`. */
export class SealedWriter implements StreamWriter {
  readonly parts: ReadonlyMap<string, string>
  /** Has `end` or `fail` been called? */
  ending = false
  private readonly plain: StreamWriter
  private readonly seal: Seal
  private readonly writers = new Map<string, SealWriter>()
  private readonly held = new HeldSurrogates()
  private waiting: Waiting[] = []
  private waitingUnits = 0
  /** Resolves when nothing waits to be sealed; never rejects. */
  private sealing: Promise<void> | null = null
  private failure: { readonly error: unknown } | null = null

  /** `parts`: the text of an earlier writer. */
  constructor(plain: StreamWriter, seal: Seal, parts: ReadonlyMap<string, string>) {
    this.plain = plain
    this.seal = seal
    this.parts = parts
  }

  get id(): string {
    return this.plain.id
  }

  get fence(): number {
    return this.plain.fence
  }

  get resumed(): boolean {
    return this.plain.resumed
  }

  get text(): string {
    return this.parts.get(DEFAULT_PART) ?? ''
  }

  get signal(): AbortSignal {
    return this.plain.signal
  }

  get ready(): Promise<void> {
    return this.sealing ?? this.plain.ready
  }

  write(data: string | Uint8Array, { part = DEFAULT_PART }: WriteOptions = {}): boolean {
    this.checkOpen()
    if (typeof data !== 'string') return this.add({ data: { tag: 'bytes', value: new Uint8Array(data) }, part })
    for (const value of cutText(this.held.join(part, data), TOKEN_UNITS))
      this.add({ data: { tag: 'text', value }, part })
    return this.waitingUnits < UNSEALED_UNITS
  }

  writeJson(value: Json, { part = DEFAULT_PART }: WriteOptions = {}): boolean {
    this.checkOpen()
    return this.add({ data: { tag: 'json', value: encodeJson(value) }, part })
  }

  pipe(source: PipeSource<string | Uint8Array>, options?: WriteOptions): Promise<void> {
    return pipe(source, this.signal, async (piece) => {
      if (!this.write(piece, options)) await this.ready
    })
  }

  async end(detail?: Json): Promise<Stored> {
    this.checkOpen()
    this.finish()
    await this.flush()
    return this.plain.end({ sealed: await this.sealedEnd('done', detail) })
  }

  async fail(error: unknown): Promise<Stored> {
    if (this.ending) throw this.ended()
    this.finish()
    await this.sealing
    const message = error instanceof Error ? error.message : String(error)
    return this.plain.fail(await this.sealedEnd('failed', { message: message.slice(0, FAILURE_UNITS) }))
  }

  async flush(): Promise<void> {
    await this.sealing
    if (this.failure !== null) throw this.failure.error
    await this.plain.flush()
  }

  /** Nothing may be written any more; what was held back goes. */
  private finish(): void {
    this.ending = true
    for (const [part, value] of this.held.takeAll()) this.add({ data: { tag: 'text', value }, part })
  }

  private sealedEnd(state: 'done' | 'failed', detail: Json | undefined): Promise<string> {
    // What was sealed and not written is no token.
    const counts =
      this.failure === null ? Object.fromEntries([...this.writers].map(([part, { count }]) => [part, count])) : null
    const value = encodeJson({ counts, detail })
    return this.seal.seal({ tag: 'json', value }, ['end', this.id, state], new SealWriter()).then(base64)
  }

  private add(waiting: Waiting): boolean {
    this.waiting.push(waiting)
    this.waitingUnits += waiting.data.value.length
    this.sealing ??= this.sealAll()
    return this.waitingUnits < UNSEALED_UNITS
  }

  private async sealAll(): Promise<void> {
    try {
      while (this.waiting.length > 0) {
        const items = this.waiting
        this.waiting = []
        const sealed = await Promise.all(items.map((item) => this.sealed(item)))
        for (const [i, { data, part }] of items.entries()) {
          if (!this.put(data, sealed[i] as Uint8Array, part)) await this.plain.ready
        }
        for (const { data } of items) this.waitingUnits -= data.value.length
      }
    } catch (error) {
      this.failure = { error }
    }
    this.sealing = null
  }

  /** Only sealed text travels as bytes, so that a run of tokens is text throughout. */
  private put({ tag }: RecordData, sealed: Uint8Array, part: string): boolean {
    if (tag === 'text') return this.plain.write(sealed, { part })
    return this.plain.writeJson(base64(sealed), { part })
  }

  private sealed({ data, part }: Waiting): Promise<Uint8Array> {
    const writer = this.writers.get(part) ?? new SealWriter()
    this.writers.set(part, writer)
    return this.seal.seal(data, ['token', this.id, part], writer)
  }

  private checkOpen(): void {
    if (this.failure !== null) throw this.failure.error
    this.signal.throwIfAborted()
    if (this.ending) throw this.ended()
  }

  private ended(): LitetopicError {
    return new LitetopicError('STREAM_ENDED', `stream ${this.id} was ended by this writer`, { streamId: this.id })
  }
}
