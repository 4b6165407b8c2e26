/** Reading: where it begins, credit, catching up and live, and what ends it. */

import { describe, expect, test } from 'vitest'
import { FORM, formatCursor, UP } from '../../protocol/index.ts'
import { checkpoint, json, message, TestBroker, token, tokens } from './brokers.ts'
import { codeOf, type Peer, refusalOf } from './peer.ts'

async function withMessages(count: number, options = {}): Promise<{ broker: TestBroker; peer: Peer; epoch: number }> {
  const broker = await TestBroker.start(options)
  const peer = await broker.peer()
  const { epoch } = await peer.attach('a', { producer: 'p' })
  for (let i = 0; i < count; i++) {
    await peer.append({ sequence: i }, message(`m${i}`))
    await broker.clock.advance(1000)
  }
  return { broker, peer, epoch }
}

describe('a subscription begins', () => {
  test('at the start, the end, a count before it, an offset, or a time', async () => {
    const { broker, peer } = await withMessages(5)
    const startMs = broker.clock.wallMs() - 5000
    const starts = [
      [{ start: true }, 0],
      [{ live: true }, 5],
      [{ last: 2 }, 3],
      [{ last: 0 }, 5],
      [{ last: 99 }, 0],
      [{ offset: 4 }, 4],
      [{ offset: 5 }, 5],
      [{ timeMs: 0 }, 0],
      [{ timeMs: startMs + 2000 }, 2],
      [{ timeMs: startMs + 2001 }, 3],
      [{ timeMs: startMs + 99_999 }, 5],
    ] as const
    for (const [from, start] of starts) {
      const reading = await peer.read(from)
      expect([from, reading.start]).toEqual([from, start])
      await peer.until(() => reading.position === 5)
      expect(reading.messages).toHaveLength(5 - start)
    }
  })

  test('at a cursor or behind a checkpoint, also from the table', async () => {
    const broker = await TestBroker.start({ residencyIdleMs: 100 })
    const writer = await broker.peer()
    await writer.attach('a', { producer: 'p' })
    const records = [message('0'), checkpoint('one'), message('2'), checkpoint('two'), message('4'), checkpoint('one')]
    for (const [sequence, record] of records.entries()) await writer.append({ sequence }, record)
    for (const where of ['memory', 'table']) {
      const peer = where === 'memory' ? writer : await broker.peer()
      if (where === 'table') {
        await broker.drop(writer)
        await broker.dormant()
      }
      const { epoch, cursor } = await peer.attach('a', {}, 1)
      const incarnation = peer.welcome?.incarnation as string
      const read = async (from: Parameters<Peer['read']>[0]) => (await peer.read(from, { handle: 1 })).start
      expect(await read({ checkpoint: null })).toBe(6)
      expect(await read({ checkpoint: 'one' })).toBe(6)
      expect(await read({ checkpoint: 'two' })).toBe(4)
      expect(await codeOf(read({ checkpoint: 'three' }))).toBe('CHECKPOINT_UNKNOWN')
      expect(await read({ cursor })).toBe(6)
      expect(await read({ cursor: formatCursor({ incarnation, epoch, next: 3 }) })).toBe(3)
    }
  })

  test('behind a checkpoint that is just being written', async () => {
    const { peer } = await withMessages(1)
    const [, reading, resumed] = peer.together(() => [
      peer.append({ sequence: 1 }, checkpoint('c', json({ step: 1 }))),
      peer.read({ checkpoint: null }),
      peer.ask(UP.resume, 0, { checkpoint: 'c' }),
    ])
    expect(await reading).toMatchObject({ start: 2 })
    expect(await resumed).toMatchObject({ checkpoint: { name: 'c', offset: 1 } })
  })

  test('with exactly one known field; others are ignored', async () => {
    const { peer } = await withMessages(1)
    for (const from of [{}, { start: true, live: true }, { start: false }, { offset: 0, last: 1 }]) {
      expect(await codeOf(peer.ask(UP.subscribe, 0, 9, from, {}))).toBe('BAD_REQUEST')
    }
    const withMore = { start: true, futureField: 1 } as object
    expect(await codeOf(peer.ask(UP.subscribe, 0, 9, withMore, {}))).toBe('ok')
  })

  test('nowhere with a cursor or offset that leads nowhere', async () => {
    const { peer, epoch } = await withMessages(3)
    const incarnation = peer.welcome?.incarnation as string
    const code = (from: Parameters<Peer['read']>[0]) => codeOf(peer.ask(UP.subscribe, 0, 9, from, {}))
    const cursor = (fields: object) => formatCursor({ incarnation, epoch, next: 1, ...fields })
    expect(await code({ cursor: 'not a cursor' })).toBe('BAD_CURSOR')
    expect(await code({ cursor: cursor({ next: 4 }) })).toBe('OFFSET_BEYOND_END')
    expect(await code({ offset: 4 })).toBe('OFFSET_BEYOND_END')
    expect(await code({ cursor: cursor({ epoch: epoch + 1 }) })).toBe('RECREATED')
    expect(await code({ cursor: cursor({ incarnation: '0123456789ab' }) })).toBe('DIVERGED')
    await peer.ask(UP.trim, 0, 0, 3, { before: 2 })
    for (const from of [{ offset: 1 }, { cursor: cursor({}) }]) {
      const trimmed = await refusalOf(peer.ask(UP.subscribe, 0, 9, from, {}))
      expect(trimmed.code).toBe('TRIMMED')
      expect(trimmed.details).toMatchObject({ firstOffset: 2, cursor: cursor({ next: 2 }) })
    }
    expect((await peer.read({ start: true })).start).toBe(2)
    expect((await peer.read({ last: 99 })).start).toBe(2)
  })
})

describe('deliveries', () => {
  test('are coalesced while catching up and raw when live; raw throughout if asked', async () => {
    const { broker, peer } = await withMessages(0)
    await peer.ask(UP.openStream, 0, 0, 0, 's', 'create')
    for (let i = 1; i < 20; i++) await peer.append({ sequence: i, fence: 0 }, ...tokens('s', 'a', 'b', 'c'))
    const reader = await broker.peer()
    await reader.attach('a')
    const coalesced = await reader.read({ start: true })
    const raw = await reader.read({ start: true }, { raw: true })
    await reader.until(() => coalesced.position === 58 && raw.position === 58)
    expect(coalesced.batches.map(({ form, live }) => [form, live])).toEqual([
      [FORM.raw, false],
      [FORM.coalesced, false],
    ])
    expect(raw.batches.map(({ form, live }) => [form, live])).toEqual(Array(20).fill([FORM.raw, false]))
    await peer.append({ sequence: 20, fence: 0 }, token('s', 'live'))
    await reader.until(() => coalesced.position === 59 && raw.position === 59)
    expect(coalesced.batches.at(-1)).toMatchObject({ form: FORM.raw, live: true })
    expect(raw.batches.at(-1)).toMatchObject({ form: FORM.raw, live: true })
  })

  test('stop when the credit is used up, and go on where they stopped when it is granted', async () => {
    const { broker, peer } = await withMessages(10)
    const reader = await broker.peer()
    await reader.attach('a')
    const reading = await reader.read({ start: true }, { creditBytes: 1, regrant: false })
    await reader.until(() => reading.position === 1)
    await reader.roundTrip()
    expect(reading.position).toBe(1)
    const size = reading.batches[0]?.bytes as number
    reader.send([UP.credit, 0, size * 3])
    await reader.until(() => reading.position >= 3)
    await reader.roundTrip()
    expect(reading.position).toBe(4)
    await peer.append({ sequence: 10 }, message('m10'))
    reader.send([UP.credit, 0, 10_000])
    await reader.until(() => reading.position === 11)
    await peer.append({ sequence: 11 }, message('m11'))
    await reader.until(() => reading.position === 12)
    expect(reading.messages).toEqual(Array.from({ length: 12 }, (_, i) => `text:m${i}`))
  })

  test('go on with credit that comes in pieces in one message', async () => {
    const { broker } = await withMessages(10)
    const reader = await broker.peer()
    await reader.attach('a')
    const reading = await reader.read({ start: true }, { creditBytes: 1, regrant: false })
    await reader.until(() => reading.position === 1)
    const size = reading.batches[0]?.bytes as number
    reader.together(() => {
      for (let i = 0; i < 9; i++) reader.send([UP.credit, 0, size])
    })
    await reader.until(() => reading.position === 10)
  })

  test('of a live reader without credit begin again where it stands', async () => {
    const { broker, peer } = await withMessages(1)
    const reader = await broker.peer()
    await reader.attach('a')
    const reading = await reader.read({ live: true }, { creditBytes: 1, regrant: false })
    for (let i = 1; i < 6; i++) await peer.append({ sequence: i }, message(`m${i}`))
    await reader.roundTrip()
    expect(reading.position).toBe(2)
    reader.send([UP.credit, 0, 10_000])
    await reader.until(() => reading.position === 6)
    expect(reading.batches.map(({ live }) => live)).toEqual([true, false, false, false, false])
  })

  test('end with TRIMMED for a reader whose next records are gone, and it learns where to go on', async () => {
    const { broker, peer } = await withMessages(10)
    const reader = await broker.peer()
    const { epoch } = await reader.attach('a')
    const slow = await reader.read({ start: true }, { creditBytes: 1, regrant: false })
    const fast = await reader.read({ start: true }, { creditBytes: 10_000, regrant: false })
    await reader.until(() => slow.position === 1 && fast.position === 10)
    expect((await peer.ask(UP.trim, 0, 0, 10, { before: 6 })).firstOffset).toBe(6)
    await reader.notice('trimmed')
    expect(reader.notices[0]?.facts).toEqual({ firstOffset: 6 })
    reader.send([UP.credit, 0, 1000])
    await reader.until(() => slow.ended !== null)
    const cursor = formatCursor({ incarnation: reader.welcome?.incarnation as string, epoch, next: 6 })
    expect([slow.ended?.code, slow.ended?.details]).toEqual([
      'TRIMMED',
      expect.objectContaining({ outcome: 'trimmed', firstOffset: 6, cursor }),
    ])
    expect(fast.ended).toBe(null)
    await peer.append({ sequence: 11 }, message('m11'))
    await reader.until(() => fast.position === 11)
    expect((await reader.read({ start: true }, { id: 0 })).start).toBe(6)
  })

  test('cease after unsubscribe, and the number is free', async () => {
    const { broker, peer } = await withMessages(1)
    const reader = await broker.peer()
    await reader.attach('a')
    const reading = await reader.read({ start: true })
    await reader.until(() => reading.position === 1)
    await reader.ask(UP.unsubscribe, 0)
    await peer.append({ sequence: 1 }, message('m1'))
    await reader.roundTrip()
    expect(reading.position).toBe(1)
    const again = await reader.read({ start: true }, { id: 0 })
    await reader.until(() => again.position === 2)
  })
})

describe('trim', () => {
  test('cuts before an offset or a checkpoint, once per sequence, and not into an open stream', async () => {
    const { peer } = await withMessages(3)
    const trim = (sequence: number, before: { before?: number; checkpoint?: string }) =>
      peer.ask(UP.trim, 0, 0, sequence, before)
    await peer.append({ sequence: 3 }, checkpoint('c'))
    expect(await codeOf(trim(4, {}))).toBe('BAD_REQUEST')
    expect(await codeOf(trim(4, { before: 1, checkpoint: 'c' }))).toBe('BAD_REQUEST')
    expect(await codeOf(trim(4, { before: 5 }))).toBe('OFFSET_BEYOND_END')
    expect(await codeOf(trim(4, { checkpoint: 'none' }))).toBe('CHECKPOINT_UNKNOWN')
    expect(await codeOf(trim(5, { before: 1 }))).toBe('SEQUENCE_GAP')
    expect(await trim(4, { before: 1 })).toEqual({ firstOffset: 1 })
    await peer.ask(UP.openStream, 0, 0, 5, 's', 'create')
    expect(await trim(6, { checkpoint: 'c' })).toEqual({ firstOffset: 3 })
    await peer.append({ sequence: 7, fence: 4 }, token('s', 'x'))
    expect(await trim(8, { before: 6 })).toEqual({ firstOffset: 4 })
    expect(await trim(6, { checkpoint: 'c' })).toEqual({ firstOffset: 3 })
    expect((await peer.ask(UP.checkpoints, 0, {})).checkpoints).toEqual([])
    expect(await codeOf(peer.ask(UP.resume, 0, { checkpoint: null }))).toBe('CHECKPOINT_UNKNOWN')
  })
})
