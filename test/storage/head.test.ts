/** A head gives back every state that it was made of, and what cannot be one is damage. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { LIMITS } from '../../protocol/index.ts'
import { decodeHead, encodeHead } from '../../storage/head.ts'
import { packInlineTail } from '../../storage/inline-tail.ts'
import { headKey } from '../../storage/keys.ts'
import { SEAL_BYTES, seal } from '../../storage/seal.ts'
import { type StreamState, TopicState } from '../../storage/topic-state.ts'

const MAX = Number.MAX_SAFE_INTEGER
/** Numbers around those where a varint, or a number of V8, becomes longer. */
const edges = [0, 7, 8, 14, 21, 28, 30, 31, 32, 35, 42, 48, 49, 52].flatMap((bits) => [2 ** bits - 1, 2 ** bits])
const number = fc.oneof(fc.constantFrom(...edges, MAX - 1), fc.maxSafeNat()).filter((value) => value < MAX)
const id = fc.string({ unit: 'binary', minLength: 1, maxLength: 60 })
const producer = fc.record({
  id,
  epoch: number,
  sequence: fc.oneof(fc.constant(-1), number),
  lastUsedMs: number,
  bases: fc.array(fc.oneof(fc.constant(-1), number), { maxLength: LIMITS.appendsInFlight }),
})
const stream: fc.Arbitrary<StreamState> = fc.record({
  streamId: id,
  state: fc.constantFrom('open', 'resumed', 'lost'),
  openOffset: number,
  fence: number,
  lastOffset: number,
  detail: fc.option(fc.string({ unit: 'binary', maxLength: 300 })),
  writerSlot: fc.integer({ min: -1, max: LIMITS.producersPerTopic - 1 }),
})
const topic = fc.record({
  epoch: number,
  numbers: fc.array(number, { minLength: 12, maxLength: 12 }),
  counts: fc.option(fc.array(number, { minLength: 5, maxLength: 5 })),
  producers: fc.option(fc.array(fc.option(producer), { minLength: 1, maxLength: LIMITS.producersPerTopic })),
  streams: fc.array(stream, { maxLength: 5 }),
  holder: fc.option(id),
  extra: fc.option(
    fc.constantFrom({ principal: 'me' }, { contentType: 'text/plain' }, { principal: 'me', contentType: 'a/b' }),
  ),
  policy: fc.option(fc.record({ lingerMs: number })),
  branches: fc.option(fc.array(fc.record({ incarnation: id, next: number }), { minLength: 1, maxLength: 8 })),
  inline: fc.option(fc.uint8Array({ minLength: 1, maxLength: LIMITS.inlineTailBytes })),
})

test('every state is the same when it is read back', () => {
  fc.assert(
    fc.property(topic, (given) => {
      const [created, append, due, first, cleared, chunked, next, bytes, fence, commit, operations] = given.numbers
      const state = new TopicState('t', given.epoch, created as number, given.policy, given.extra)
      Object.assign(state, {
        lastAppendMs: append,
        dueMs: due,
        storedDueMs: due,
        firstOffset: first,
        clearedTo: cleared,
        chunkedTo: chunked,
        flushedTo: next,
        nextOffset: next,
        committedTo: next,
        bytes,
        fence,
        fenceHolder: given.holder,
        branches: given.branches,
        headStored: true,
        inline: given.inline && packInlineTail(given.inline),
      })
      // None can have been given an offset beyond the end.
      const known = (base: number): number => Math.min(base, next as number)
      state.producers = given.producers?.map((one) => one && { ...one, bases: one.bases.map(known) }) ?? null
      if (given.streams.length > 0) state.openStreams = new Map(given.streams.map((one) => [one.streamId, one]))
      state.openStreamsStored = given.streams.length > 0
      if (given.counts !== null) {
        const [ids, streams, context, checkpoints, large] = given.counts as [number, number, number, number, number]
        state.counts = { ids, streams, context, checkpoints, large }
      }
      const asOf = { commit: commit as number, operations: operations as number }
      const plan = { asOf, chunkedTo: state.chunkedTo, inline: given.inline, tableUsed: false }
      expect(decodeHead('t', encodeHead(headKey('t'), state, plan))).toEqual({ state, asOf })
    }),
  )
})

test('a head that ends too early, or goes on as no head does, is damage', () => {
  const state = new TopicState('t', 4096, 1_700_000_000_000, null)
  state.producers = [{ id: 'p', epoch: 1, sequence: 2, lastUsedMs: 3, bases: [-1, 0] }]
  const plan = { asOf: { commit: 1, operations: 1 }, chunkedTo: 0, inline: null, tableUsed: false }
  const payload = encodeHead(headKey('t'), state, plan).subarray(SEAL_BYTES)
  for (let size = 0; size < payload.length; size++) {
    const cut = seal(headKey('t'), payload.subarray(0, size))
    expect(() => decodeHead('t', cut), `${size} bytes`).toThrow(expect.objectContaining({ code: 'STORE_CORRUPT' }))
  }
  const endless = payload.map((byte, at) => (at < 2 ? byte : 0xff))
  expect(() => decodeHead('t', seal(headKey('t'), endless))).toThrow(expect.objectContaining({ code: 'STORE_CORRUPT' }))
})
