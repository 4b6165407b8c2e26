/** Opens the records of a sealed session, in their order. */

import type { SessionRecord, StreamRecord, TokenRecord, Value } from '../index.ts'
import { decodeValue, type Json } from '../values.ts'
import { fromBase64 } from './base64.ts'
import { type Counts, SealOrder } from './order.ts'
import { notAuthentic, type Opened, type Place, type Seal } from './seal.ts'

/** A record before its order is checked: what was in it, and the record that it becomes. */
interface Unsealed {
  readonly record: SessionRecord
  readonly check: (order: SealOrder) => void
}

export class Opener {
  private readonly topic: string
  private readonly seal: Seal
  private readonly order: SealOrder

  constructor(topic: string, seal: Seal) {
    this.topic = topic
    this.seal = seal
    this.order = new SealOrder(topic)
  }

  /** Yields what is good; throws NOT_AUTHENTIC at the first record that is not. */
  async *open(records: readonly SessionRecord[]): AsyncGenerator<SessionRecord, void, undefined> {
    const opening = records.map((record) => this.unseal(record))
    // Those behind one that fails are not awaited any more.
    for (const one of opening) one.catch(() => {})
    for (const one of opening) {
      const { record, check } = await one
      check(this.order)
      yield record
    }
  }

  private async unseal(record: SessionRecord): Promise<Unsealed> {
    switch (record.kind) {
      case 'token':
        return this.token(record)
      case 'stream':
        return this.stream(record)
      case 'message': {
        const { large, ...message } = record
        const place = ['message', record.id ?? null] as const
        const { value, check } = await this.single(large === undefined ? record.value : await large.bytes(), place)
        return { record: { ...message, value }, check }
      }
      case 'context': {
        if (record.op === 'delete') return { record, check: () => {} }
        const { value, check } = await this.single(record.value, ['context', record.name])
        return { record: { ...record, value }, check }
      }
      case 'checkpoint': {
        const { value, check } = await this.single(record.state, ['checkpoint', record.name])
        return { record: { ...record, state: value }, check }
      }
    }
  }

  private async single(
    sealed: unknown,
    place: Place,
  ): Promise<{ readonly value: Value; readonly check: Unsealed['check'] }> {
    const opened = await this.seal.open(sealed instanceof Uint8Array ? sealed : undefined, place)
    return { value: decodeValue(opened.data), check: (order) => order.message(place, opened) }
  }

  private async token(record: TokenRecord): Promise<Unsealed> {
    const { streamId, part, bytes, value, sizes = [bytes?.length ?? 0], ...place } = record
    const where = ['token', streamId, part] as const
    const check =
      (opened: readonly Opened[]): Unsealed['check'] =>
      (order) => {
        for (const one of opened) order.token(streamId, part, one)
      }
    const named = { ...place, streamId, part }
    if (bytes === undefined) {
      const opened = await this.seal.open(fromBase64(value), where)
      const { data } = opened
      const content = data.tag === 'bytes' ? { bytes: data.value } : { value: decodeValue(data) as Json }
      return { record: { ...named, ...content }, check: check([opened]) }
    }
    let at = 0
    const pieces = sizes.map((size) => {
      at += size
      return this.seal.open(bytes.subarray(at - size, at), where)
    })
    const opened = await Promise.all(pieces)
    const text = opened.map(({ data }) => this.textOf(data.value, where)).join('')
    const several = opened.length > 1 ? { sizes: opened.map((piece) => piece.bytes) } : {}
    return { record: { ...named, text, ...several }, check: check(opened) }
  }

  private textOf(value: string | Uint8Array, place: Place): string {
    if (typeof value === 'string') return value
    throw notAuthentic(this.topic, place, 'it is not where its writer put it')
  }

  private async stream(record: StreamRecord): Promise<Unsealed> {
    const { streamId, state, detail } = record
    if (state === 'open' || state === 'resumed') return { record, check: (order) => order.begun(streamId, state) }
    if (state === 'lost') return { record, check: () => {} }
    // What its writer said nothing of: a stop, and the reason that whoever stopped it gave.
    if (state === 'stopped') return { record, check: (order) => order.ended(streamId, state, null) }
    const end = await openEnd(this.seal, streamId, state, detail)
    return {
      record: { ...record, detail: end.detail },
      check: (order) => order.ended(streamId, state, end.counts),
    }
  }
}

interface SealedEnd {
  readonly counts: Counts | null
  readonly detail: Json | undefined
}

/** What a writer said at the end. Rejects with NOT_AUTHENTIC. */
export async function openEnd(
  seal: Seal,
  streamId: string,
  state: 'done' | 'failed',
  detail: Json | undefined,
): Promise<SealedEnd> {
  const { sealed, message } = (detail ?? {}) as { readonly sealed?: Json; readonly message?: Json }
  const { data } = await seal.open(fromBase64(state === 'done' ? sealed : message), ['end', streamId, state])
  const { counts, detail: said } = decodeValue(data) as unknown as SealedEnd
  return { counts, detail: said }
}
