/** What the property tests of the protocol are fed with: ids, data, records and valid bytes of every kind. */

import fc from 'fast-check'
import {
  ByteReader,
  ByteWriter,
  CONTEXT_OP,
  type ContextOp,
  checkId,
  FORM,
  isLitetopicError,
  NO_DATA,
  type RecordData,
  type RecordExtras,
  type RecordParts,
  type Run,
  STREAM_STATE,
  type StreamState,
  writeBatchHeader,
  writeCheckpoint,
  writeContext,
  writeMessage,
  writeRun,
  writeStream,
  writeToken,
} from '../../protocol/index.ts'

export type AnyRecord =
  | { kind: 'message'; data: RecordData; extras?: RecordExtras }
  | { kind: 'context'; op: ContextOp; name: string; data: RecordData; extras?: RecordExtras }
  | { kind: 'checkpoint'; name: string; data: RecordData; extras?: RecordExtras }
  | { kind: 'stream'; state: StreamState; streamId: string; data: RecordData; extras?: RecordExtras }
  | { kind: 'token'; streamId: string; part: string; data: RecordData }

/** Up to 2^53-1, with the sizes at which an encoding changes. */
export const uint53 = fc.oneof(
  fc.maxSafeNat(),
  fc.nat(300),
  fc
    .constantFrom(...[7, 8, 14, 16, 21, 28, 31, 32, 35, 42, 48, 49, 53].flatMap((bits) => [2 ** bits - 1, 2 ** bits]))
    .filter(Number.isSafeInteger),
)

/** Any well-formed text, characters beyond 16 bits and control characters included. */
export const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.string({ unit: 'grapheme', maxLength: 40 }),
  fc.string({ maxLength: 200 }),
)

export const id = fc
  .oneof(fc.string({ minLength: 1, maxLength: 30 }), fc.string({ unit: 'binary', minLength: 1, maxLength: 60 }))
  .filter(isId)

export const extras: fc.Arbitrary<RecordExtras | undefined> = fc.option(
  fc
    .record({ id, trace: fc.string({ maxLength: 300 }) }, { requiredKeys: [] })
    .filter((x) => Object.keys(x).length > 0),
  { nil: undefined },
)

/** What the record of a large message says of its content. */
export const parts: fc.Arbitrary<RecordParts> = fc.record({
  size: uint53.filter((size) => size > 0),
  sha256: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  uploadId: id,
})

export const data: fc.Arbitrary<RecordData> = fc.oneof(
  anyText.map((value): RecordData => ({ tag: 'text', value })),
  fc.json({ maxDepth: 3 }).map((value): RecordData => ({ tag: 'json', value })),
  fc.uint8Array({ maxLength: 300 }).map((value): RecordData => ({ tag: 'bytes', value })),
)

/** Few stream ids and parts, so that tokens repeat them. */
const streamId = fc.oneof(fc.constantFrom('a', 'reply-1'), id)
const part = fc.oneof(fc.constantFrom('text', 'reasoning'), id)

export const token = fc.record({ kind: fc.constant('token' as const), streamId, part, data })

export const record: fc.Arbitrary<AnyRecord> = fc.oneof(
  fc.record({ kind: fc.constant('message' as const), data, extras }),
  fc
    .record({ tag: fc.constantFrom('text' as const, 'json' as const, 'bytes' as const), extras, parts })
    .map(({ tag, extras: others, parts: content }): AnyRecord => {
      const none: RecordData = tag === 'bytes' ? NO_DATA : { tag, value: '' }
      return { kind: 'message', data: none, extras: { ...others, parts: content } }
    }),
  fc.record({
    kind: fc.constant('context' as const),
    op: fc.constantFrom(...(Object.keys(CONTEXT_OP) as ContextOp[])),
    name: id,
    data,
    extras,
  }),
  fc.record({ kind: fc.constant('checkpoint' as const), name: id, data, extras }),
  fc.record({
    kind: fc.constant('stream' as const),
    state: fc.constantFrom(...(Object.keys(STREAM_STATE) as StreamState[])),
    streamId,
    data,
    extras,
  }),
  { weight: 5, arbitrary: token },
)

export const records = fc.array(record, { minLength: 1, maxLength: 12 })

export const run: fc.Arbitrary<Omit<Run, 'data' | 'last'> & { last: number }> = fc
  .record({
    tag: fc.constantFrom(0 as const, 1 as const, 2 as const),
    streamId,
    part,
    first: fc.nat(1000),
    gap: fc.nat(1000),
    sizes: fc.array(fc.nat(200), { minLength: 1, maxLength: 20 }),
  })
  .map(({ gap, ...rest }) => ({ ...rest, last: rest.first + rest.sizes.length - 1 + gap }))

/** Writes the records as a client does: a token repeats the stream and part of the token before it where it can. */
export function encodeRecords(list: readonly AnyRecord[]): Uint8Array {
  const out = new ByteWriter(8)
  let last: string | undefined
  for (const item of list) {
    if (item.kind === 'message') writeMessage(out, item.data, item.extras)
    else if (item.kind === 'context') writeContext(out, item.op, item.name, item.data, item.extras)
    else if (item.kind === 'checkpoint') writeCheckpoint(out, item.name, item.data, item.extras)
    else if (item.kind === 'stream') writeStream(out, item.state, item.streamId, item.data, item.extras)
    else {
      const key = JSON.stringify([item.streamId, item.part])
      writeToken(out, item.streamId, item.part, item.data, key === last)
      last = key
    }
  }
  return out.copy()
}

export function encodeRun(base: number, of: Omit<Run, 'data'>): { bytes: Uint8Array; data: Uint8Array } {
  const total = of.sizes.reduce((sum, size) => sum + size, 0)
  const content = Uint8Array.from({ length: total }, (_, i) => (i * 7) % 256)
  const out = new ByteWriter(8)
  writeRun(out, base, { ...of, data: content })
  return { bytes: out.copy(), data: content }
}

export function encodeBatch(base: number, list: readonly AnyRecord[], timeMs = 0, principal?: string): Uint8Array {
  const content = encodeRecords(list)
  const out = new ByteWriter(8)
  const envelope = principal === undefined ? undefined : { principal }
  writeBatchHeader(out, FORM.raw, base, list.length, timeMs, content.length, envelope)
  out.raw(content)
  return out.copy()
}

/** The LitetopicError code that a call throws, or undefined; anything else that it throws fails the test. */
export function codeOf(call: () => unknown): string | undefined {
  try {
    call()
    return undefined
  } catch (error) {
    if (isLitetopicError(error)) return error.code
    throw error
  }
}

/** A copy with some bytes overwritten, inserted or removed. */
export function mutate(bytes: Uint8Array, edits: readonly { at: number; byte: number; how: number }[]): Uint8Array {
  let result = [...bytes]
  for (const edit of edits) {
    const at = result.length === 0 ? 0 : edit.at % result.length
    if (edit.how === 0) result[at] = edit.byte
    else if (edit.how === 1) result = [...result.slice(0, at), edit.byte, ...result.slice(at)]
    else result.splice(at, 1)
  }
  return Uint8Array.from(result)
}

export const edits = fc.array(fc.record({ at: fc.nat(100_000), byte: fc.nat(255), how: fc.nat(2) }), {
  minLength: 1,
  maxLength: 5,
})

export function readerOf(bytes: Uint8Array): ByteReader {
  return new ByteReader(bytes)
}

function isId(value: string): boolean {
  return codeOf(() => checkId(value, 'id')) === undefined
}
