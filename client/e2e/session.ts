/** A session whose data only those can read who have its key: a plain session, with everything sealed on its way in and out. */

import {
  type AppendOptions,
  type Broker,
  type Checkpoint,
  type GenerateFunction,
  LitetopicError,
  type ReadOptions,
  type Session,
  type SessionOptions,
  type SessionRecord,
  type Stored,
  type StreamResult,
  type StreamWriter,
  type Value,
} from '../index.ts'
import { validate } from '../schema.ts'
import { decodeValue, encodeAny } from '../values.ts'
import { SealedContext } from './context.ts'
import { Opener } from './open.ts'
import { type Place, Seal, type SealKey, SealWriter } from './seal.ts'
import { SealedWriter } from './stream.ts'

export interface SealedOptions<T> extends SessionOptions<T> {
  /** 32 random bytes, or a CryptoKey for HKDF made of them. Who has it reads and writes; the broker must not. */
  readonly key: SealKey
}

/** Sealed data of more bytes is on its way for longer than what comes behind it. */
const SMALL_BYTES = 131_072

/** Opens, resumes or creates the session. Rejects like `broker.session`, and with BAD_REQUEST for a key that is none. */
export async function sealedSession<T = Value>(
  broker: Broker,
  name: string,
  options: SealedOptions<T>,
): Promise<SealedSession<T>> {
  const { key, schema, ...others } = options
  const plain: Session = await broker.session(name, others)
  try {
    return new SealedSession(plain, await Seal.of(key, name, plain.epoch), schema)
  } catch (error) {
    await plain.close()
    throw error
  }
}

/**
 * As a plain session, where it has the same. Messages, tokens, context values, states of checkpoints, and what ends a stream are
 * sealed; names and ids are not. All that reads rejects with NOT_AUTHENTIC for what was not sealed with this key for this place.
 */
export class SealedSession<T = Value> implements AsyncDisposable {
  /** The session beneath, for what needs no key: stop, trim, policy, describe. What is written with it nobody can read here. */
  readonly plain: Session
  readonly context: SealedContext
  private readonly seal: Seal
  private readonly schema: SealedOptions<T>['schema']
  private readonly writer = new SealWriter()
  /** Resolves when the next append may begin. */
  private turn: Promise<unknown> = Promise.resolve()

  /** Made by `sealedSession`. */
  constructor(plain: Session, seal: Seal, schema: SealedOptions<T>['schema']) {
    this.plain = plain
    this.seal = seal
    this.schema = schema
    this.context = new SealedContext(plain, seal, (place, value, write) => this.write(place, value, write))
  }

  get name(): string {
    return this.plain.name
  }

  get cursor(): string {
    return this.plain.cursor
  }

  /**
   * Values of any size, which are in memory whole while they are sealed; no Blobs and streams. Rejects with BAD_VALUE and SCHEMA_INVALID,
   * else like `append` of a plain session.
   */
  append(value: T, options: Omit<AppendOptions, 'onProgress'> = {}): Promise<Stored> {
    return this.write(['message', options.id ?? null], value, (sealed) => this.plain.append(sealed, options), true)
  }

  /** Marks this point of the log with a name and a state. */
  checkpoint(name: string, state: unknown = null): Promise<Stored> {
    return this.write(['checkpoint', name], state, (sealed) => this.plain.checkpoint(name, sealed))
  }

  async checkpoints(options?: { readonly limit?: number; readonly before?: number }): Promise<Checkpoint[]> {
    const found = await this.plain.checkpoints(options)
    return Promise.all(
      found.map(async (checkpoint) => {
        const { name, state } = checkpoint
        const { data } = await this.seal.open(state instanceof Uint8Array ? state : undefined, ['checkpoint', name])
        return { ...checkpoint, state: decodeValue(data) }
      }),
    )
  }

  async openStream(streamId: string): Promise<StreamWriter> {
    return this.sealedWriter(await this.plain.openStream(streamId))
  }

  async continue(streamId: string): Promise<StreamWriter> {
    return this.sealedWriter(await this.plain.continue(streamId))
  }

  /** As `generate` of a plain session; the text of the result is read back from the broker. */
  async generate(
    streamId: string,
    fn: GenerateFunction,
    options?: { readonly signal?: AbortSignal },
  ): Promise<StreamResult> {
    const { end, error } = await this.plain.generate(
      streamId,
      async (stream, signal) => {
        const writer = await this.sealedWriter(stream)
        try {
          await fn(writer, signal)
        } catch (error) {
          if (!writer.ending && !stream.signal.aborted) await writer.fail(error)
          throw error
        }
        if (!writer.ending) await writer.end()
      },
      options,
    )
    const { parts, detail } = await this.readStream(streamId, Number.POSITIVE_INFINITY)
    const result = { end, text: parts.get('text') ?? '', parts: Object.fromEntries(parts), detail }
    return error === undefined ? result : { ...result, error }
  }

  /**
   * Reads the records, opened, as `records` of a plain session. Rejects with NOT_AUTHENTIC also where a token is missing, or where something comes
   * a second time or in another order than it was written. A large message is fetched whole, and comes with its value.
   */
  async *records(options: ReadOptions = {}): AsyncGenerator<SessionRecord<T>, void, undefined> {
    const opener = new Opener(this.name, this.seal)
    for await (const batch of this.plain.batches(options)) {
      for await (const record of opener.open(batch)) {
        if (record.kind === 'message' && this.schema !== undefined) validate(this.schema, record.value)
        yield record as SessionRecord<T>
      }
    }
  }

  /** Resolves when all that was written so far is durable; rejects with the first error if some of it is not. */
  async flush(): Promise<void> {
    await this.turn
    await this.plain.flush()
  }

  async close(): Promise<void> {
    await this.turn
    await this.plain.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** Seals in the order of the calls, and writes in it too. */
  private async write(
    place: Place,
    value: unknown,
    write: (sealed: Uint8Array) => Promise<Stored>,
    isMessage = false,
  ): Promise<Stored> {
    if (isMessage && this.schema !== undefined) validate(this.schema, value)
    const data = encodeAny(value)
    const writing = this.turn.then(async () => {
      const sealed = await this.seal.seal(data, place, this.writer)
      const stored = write(sealed)
      const settled = stored.catch(() => {})
      // A large one would be overtaken: it takes its place when all of it has arrived.
      if (sealed.length > SMALL_BYTES) await settled
      return { stored }
    })
    this.turn = writing.catch(() => {})
    return (await writing).stored
  }

  private async sealedWriter(stream: StreamWriter): Promise<SealedWriter> {
    const parts = stream.resumed ? (await this.readStream(stream.id, stream.fence)).parts : new Map<string, string>()
    return new SealedWriter(stream, this.seal, parts)
  }

  /** Text of each part that is stored before an offset, or up to its end. */
  private async readStream(
    streamId: string,
    before: number,
  ): Promise<{ readonly parts: Map<string, string>; readonly detail: StreamResult['detail'] }> {
    const parts = new Map<string, string>()
    const stream = await this.plain.stream(streamId)
    if (stream === null) throw new LitetopicError('TRIMMED', `topic ${this.name} has forgotten stream ${streamId}`)
    const ends = Math.min(before, stream.lastOffset)
    for await (const record of this.records({ from: { offset: stream.openOffset } })) {
      if (record.kind === 'token' && record.streamId === streamId && record.offset < ends) {
        parts.set(record.part, (parts.get(record.part) ?? '') + (record.text ?? ''))
      }
      if (record.kind === 'stream' && record.streamId === streamId && record.offset >= ends) {
        return { parts, detail: record.detail }
      }
    }
    return { parts, detail: undefined }
  }
}
