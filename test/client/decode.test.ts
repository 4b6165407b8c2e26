/** Batches to records while others are decoded: a schema is the user's, and may do anything. */

import { expect, test } from 'vitest'
import { type Check, RecordDecoder } from '../../client/decode.ts'
import type { SessionRecord } from '../../client/records.ts'
import { BatchReader, ByteReader, ByteWriter, FORM, writeBatchHeader, writeMessage } from '../../protocol/index.ts'

function batchOf(...values: string[]): BatchReader {
  const records = new ByteWriter()
  for (const value of values) writeMessage(records, { tag: 'json', value: JSON.stringify(value) })
  const out = new ByteWriter()
  writeBatchHeader(out, FORM.raw, 0, values.length, 1, records.length)
  out.raw(records.view())
  const batch = new BatchReader(new ByteReader(out.view()))
  batch.advance()
  return batch
}

function decoded(check: Check<unknown>, batch: BatchReader): unknown[] {
  const into: SessionRecord<unknown>[] = []
  new RecordDecoder(check, () => {
    throw new Error('nothing is large here')
  }).decode(batch, 0, into)
  return into.map((record) => (record.kind === 'message' ? record.value : record.kind))
}

test('a schema that has another reader read gives neither of them what is the other one’s', () => {
  const inner: unknown[] = []
  const plain: Check<unknown> = (value) => value
  // What one has used, the next one uses again.
  expect(decoded(plain, batchOf('x'))).toEqual(['x'])
  const outer = decoded(
    (value) => {
      inner.push(...decoded(plain, batchOf(`${value} 1`, `${value} 2`)))
      return value
    },
    batchOf('a', 'b', 'c'),
  )
  expect(outer).toEqual(['a', 'b', 'c'])
  expect(inner).toEqual(['a 1', 'a 2', 'b 1', 'b 2', 'c 1', 'c 2'])
})
