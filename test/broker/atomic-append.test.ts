/** One commit for all that an HTTP append asks: records, the close, the producer's sequence, and the writers' own order. */

import { describe, expect, test } from 'vitest'
import type { Caller } from '../../broker/http/caller.ts'
import { LIMITS } from '../../protocol/index.ts'
import { MemoryDisk } from '../../storage/index.ts'
import { message, streamEnd } from './brokers.ts'
import { CallerBroker, recordsOf } from './callers.ts'
import { HeldStore } from './held-store.ts'
import { codeOf, type Fill, refusalOf } from './peer.ts'
import { turn } from './virtual-clock.ts'

interface Place {
  readonly epoch?: number
  readonly sequence?: number
  readonly close?: boolean
  readonly streamSeq?: string
}

async function append(caller: Caller, { epoch = 0, sequence = 0, ...rest }: Place, ...fills: Fill[]) {
  const request = { producerEpoch: epoch, sequence, ...rest, ...recordsOf(...fills) }
  const { epoch: topicEpoch, ...appended } = await caller.atomicAppend(request)
  expect(topicEpoch).toBe((await caller.whenAttached()).epoch)
  return appended
}

describe('the sequence of a producer', () => {
  test('is kept with its records: a repeat of any age is told as one, and stores nothing', async () => {
    const broker = await CallerBroker.start()
    const caller = await broker.caller('a', 'p')
    for (let sequence = 0; sequence < 12; sequence++) {
      const appended = await append(caller, { sequence }, message(`${sequence}`))
      expect(appended).toEqual({ offset: sequence, nextOffset: sequence + 1, repeat: false, closed: false, sequence })
    }
    const known = { nextOffset: 12, repeat: true, closed: false, sequence: 11 }
    expect(await append(caller, { sequence: 11 }, message('11'))).toEqual({ offset: 11, ...known })
    expect(await append(caller, { sequence: 4 }, message('4'))).toEqual({ offset: 4, ...known })
    expect(await append(caller, { sequence: 3 }, message('3'))).toEqual({ offset: null, ...known })
    const killed = await (await broker.kill()).caller('a', 'p')
    expect(await append(killed, { sequence: 0 }, message('0'))).toEqual({ offset: null, ...known })
    expect(await append(killed, { sequence: 12 }, message('12'))).toMatchObject({ offset: 12, sequence: 12 })
  })

  test('tells what is wrong with one that is neither the next one nor a repeat', async () => {
    const caller = await (await CallerBroker.start()).caller('a', 'p')
    const refused = async (place: Place): Promise<unknown[]> => {
      const { code, details } = await refusalOf(append(caller, place, message('x')))
      return [code, details]
    }
    expect(await refused({ sequence: 2 })).toEqual(['PRODUCER_UNKNOWN', { sequence: 2 }])
    await append(caller, { epoch: 3, sequence: 0 }, message('one'))
    expect(await refused({ epoch: 3, sequence: 2 })).toEqual(['SEQUENCE_GAP', { expected: 1, sequence: 2 }])
    expect(await refused({ epoch: 2, sequence: 1 })).toEqual(['PRODUCER_STALE', { producerEpoch: 3 }])
    const early = { expected: 0, sequence: 1, producerEpoch: 3 }
    expect(await refused({ epoch: 4, sequence: 1 })).toEqual(['SEQUENCE_GAP', early])
    expect(await append(caller, { epoch: 4, sequence: 0 }, message('two'))).toMatchObject({ offset: 1, sequence: 0 })
  })

  test('is of 64 producers at most, of which one unused for an hour makes room', async () => {
    const broker = await CallerBroker.start()
    for (let i = 0; i < LIMITS.producersPerTopic; i++) {
      await append(await broker.caller('a', `p${i}`), {}, message('x'))
    }
    const late = await broker.caller('a', 'late')
    expect(await codeOf(append(late, {}, message('x')))).toBe('PRODUCER_LIMIT')
    await broker.clock.advance(LIMITS.producerKeepMs + 1000)
    expect(await append(late, {}, message('x'))).toMatchObject({ offset: 64, repeat: false })
    // The one that made room is not known any more; the others go on.
    expect(await codeOf(append(await broker.caller('a', 'p63'), { sequence: 1 }, message('x')))).toBe(
      'PRODUCER_UNKNOWN',
    )
    expect(await append(await broker.caller('a', 'p1'), { sequence: 1 }, message('x'))).toMatchObject({ offset: 65 })
  })

  test('need not be: an anonymous append is stored each time', async () => {
    const caller = await (await CallerBroker.start()).caller('a')
    const none = { repeat: false, closed: false, sequence: -1 }
    expect(await append(caller, {}, message('x'))).toEqual({ offset: 0, nextOffset: 1, ...none })
    expect(await append(caller, {}, message('x'))).toEqual({ offset: 1, nextOffset: 2, ...none })
    expect(await append(caller, { close: true })).toEqual({ offset: 2, nextOffset: 2, ...none, closed: true })
    expect(await append(caller, { close: true })).toEqual({
      offset: 2,
      nextOffset: 2,
      repeat: true,
      closed: true,
      sequence: -1,
    })
  })
})

describe('a close', () => {
  test('is a repeat for who closed, and CLOSED for all who come with records or another sequence', async () => {
    const broker = await CallerBroker.start()
    const [caller, other] = [await broker.caller('a', 'p'), await broker.caller('a', 'q')]
    const last = { close: true, sequence: 0 }
    const closed = { offset: 0, nextOffset: 1, closed: true, sequence: 0 }
    expect(await append(caller, last, message('last'))).toEqual({ ...closed, repeat: false })
    expect(await append(caller, last, message('last'))).toEqual({ ...closed, repeat: true })
    for (const place of [{ sequence: 1 }, { sequence: 5 }, { epoch: 1, sequence: 3 }]) {
      const refused = await refusalOf(append(caller, { ...place, close: true }, message('late')))
      expect([refused.code, refused.details]).toEqual(['CLOSED', { nextOffset: 1 }])
    }
    expect(await codeOf(append(other, last, message('late')))).toBe('CLOSED')
    expect(await append(other, last)).toMatchObject({ closed: true, nextOffset: 1 })
  })

  test('comes with records that were stored before: they are not stored again, and the topic is closed', async () => {
    const broker = await CallerBroker.start()
    const caller = await broker.caller('a', 'p')
    await append(caller, { sequence: 0 }, message('once', 'id-1'))
    const closed = await append(caller, { sequence: 1, close: true }, message('once', 'id-1'))
    expect(closed).toEqual({ offset: 0, nextOffset: 1, repeat: false, closed: true, sequence: 1 })
  })
})

describe('a Stream-Seq', () => {
  test('must rise, byte by byte, whoever sends it; what is refused changes nothing', async () => {
    const broker = await CallerBroker.start()
    const [caller, other] = [await broker.caller('a'), await broker.caller('a', 'p')]
    await append(caller, { streamSeq: '9' }, message('one'))
    for (const streamSeq of ['9', '10', '', '8z']) {
      const refused = await refusalOf(append(other, { streamSeq }, message('late')))
      expect([refused.code, refused.details]).toEqual(['STREAM_SEQ_STALE', { streamSeq: '9' }])
    }
    expect(await append(other, { streamSeq: '90' }, message('two'))).toMatchObject({ offset: 1, sequence: 0 })
    // By bytes and not by UTF-16 units, of which a surrogate is less than U+FFFF.
    await append(caller, { streamSeq: '\uffff' }, message('three'))
    expect(await append(caller, { streamSeq: '\u{10000}' }, message('four'))).toMatchObject({ offset: 3 })
    expect(await append(caller, {}, message('without'))).toMatchObject({ offset: 4 })
  })

  test('does not hinder a repeat, and is there after a crash', async () => {
    const broker = await CallerBroker.start()
    const caller = await broker.caller('a', 'p')
    await append(caller, { streamSeq: 'b', sequence: 0 }, message('one'))
    expect(await append(caller, { streamSeq: 'b', sequence: 0 }, message('one'))).toMatchObject({ repeat: true })
    const killed = await (await broker.kill()).caller('a', 'p')
    expect(await append(killed, { streamSeq: 'b', sequence: 0 }, message('one'))).toMatchObject({ repeat: true })
    expect(await codeOf(append(killed, { streamSeq: 'b', sequence: 1 }, message('two')))).toBe('STREAM_SEQ_STALE')
    expect(await append(killed, { streamSeq: 'c', sequence: 1 }, message('two'))).toMatchObject({ offset: 1 })
  })
})

test('bad input is refused, and leaves the topic as it was', async () => {
  const broker = await CallerBroker.start()
  const caller = await broker.caller('a', 'p')
  expect(await codeOf(append(caller, {}))).toBe('BAD_REQUEST')
  const long = 'x'.repeat(LIMITS.streamSeqBytes + 1)
  expect(await codeOf(append(caller, { streamSeq: long }, message('x')))).toBe('LIMIT_EXCEEDED')
  expect(await codeOf(append(caller, {}, message('x'.repeat(300_000))))).toBe('LIMIT_EXCEEDED')
  expect(await codeOf(append(caller, {}, streamEnd('done', 's')))).toBe('STREAM_UNKNOWN')
  const { records } = recordsOf(message('x'))
  const wrong = { producerEpoch: 0, sequence: 0, records, count: 2, close: true, streamSeq: 'a' }
  expect(await codeOf(caller.atomicAppend(wrong))).toBe('BAD_FRAME')
  expect(await append(caller, { streamSeq: '' }, message('x'))).toMatchObject({ offset: 0, closed: false })
})

test('who is gone before the topic is known not to be there creates none, nor half of what it asked', async () => {
  const broker = await CallerBroker.start()
  const caller = broker.request()
  const first = recordsOf(message('one'))
  caller.begin('a', { mustCreate: true, anonymous: true, first })
  const appended = codeOf(caller.atomicAppend({ producerEpoch: 0, sequence: 0, ...first }))
  caller.close()
  expect(await appended).toBe('CONNECTION_CLOSED')
  const other = await broker.caller('a', { mustCreate: true, anonymous: true })
  expect((await other.whenAttached()).created).toBe(true)
})

test('all of it is stored, or nothing', async () => {
  const disk = new MemoryDisk()
  const store = await HeldStore.open(disk)
  const broker = await CallerBroker.start({ store })
  const caller = await broker.caller('a', 'p')
  const release = store.holdJournal()
  const place = { sequence: 0, close: true, streamSeq: 'x' }
  const appending = append(caller, place, message('y'.repeat(200_000)), message('last'))
  for (let turns = 0; turns < 10; turns++) await turn()
  const before = await (await CallerBroker.start({ disk: disk.copy() })).caller('a', 'p')
  expect(await append(before, { ...place, close: false }, message('first'))).toMatchObject({
    offset: 0,
    repeat: false,
    closed: false,
  })
  release()
  await appending
  const after = await (await CallerBroker.start({ disk: disk.copy() })).caller('a', 'p')
  expect(await append(after, place, message('last'))).toEqual({
    offset: 0,
    nextOffset: 2,
    repeat: true,
    closed: true,
    sequence: 0,
  })
})
