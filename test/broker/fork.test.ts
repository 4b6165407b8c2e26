/** Forking over the protocol: what a fork reads, what it goes on with, what keeps its parent's data, and what is refused. */

import { describe, expect, test } from 'vitest'
import { formatCursor, LIMITS, UP } from '../../protocol/index.ts'
import { checkpoint, context, json, message, streamEnd, TestBroker, text, tokens } from './brokers.ts'
import { contentOf, fetchAll, large, upload } from './large.ts'
import { codeOf, type Peer, refusalOf } from './peer.ts'

async function start(options = {}): Promise<{ broker: TestBroker; peer: Peer; epoch: number }> {
  const broker = await TestBroker.start({ residencyIdleMs: 100, ...options })
  const peer = await broker.peer()
  const { epoch } = await peer.attach('a', { producer: 'p' })
  return { broker, peer, epoch }
}

const valuesOf = (reading: { records: readonly { data: string }[] }): string[] =>
  reading.records.map(({ data }) => data.replace(/^[a-z]+:/, ''))

/** Everything that a new reader of the topic gets, raw and coalesced the same. */
async function read(broker: TestBroker, name: string): Promise<string[]> {
  const peer = await broker.peer()
  const { nextOffset } = await peer.attach(name, { create: false, observe: true })
  const values: string[][] = []
  for (const raw of [true, false]) {
    const reading = await peer.read({ start: true }, { raw })
    await peer.until(() => reading.position >= nextOffset)
    expect(reading.position).toBe(nextOffset)
    values.push(valuesOf(reading))
  }
  if (values[0]?.every((value) => !value.startsWith('t'))) expect(values[0]).toEqual(values[1])
  return values[0] as string[]
}

describe('a fork', () => {
  test('shares the records before a point and goes on by itself, and so does its parent', async () => {
    const { broker, peer } = await start()
    await peer.append({ sequence: 0 }, message('1'), message('2'), message('3'))
    const forked = await peer.ask(UP.fork, 'a', 'b', { at: { offset: 2 } })
    expect(forked).toMatchObject({ created: true, offset: 2, firstOffset: 0, nextOffset: 2 })
    await peer.append({ sequence: 1 }, message('4'))
    await peer.attach('b', { producer: 'p', epoch: forked.epoch }, 1)
    expect(await peer.append({ handle: 1, sequence: 0 }, message('other'))).toBe(2)
    expect(await read(broker, 'a')).toEqual(['1', '2', '3', '4'])
    expect(await read(broker, 'b')).toEqual(['1', '2', 'other'])
    const { epoch } = await peer.ask(UP.describe, 'a')
    expect(await peer.ask(UP.describe, 'b')).toMatchObject({
      forkedFrom: { name: 'a', epoch, offset: 2 },
      nextOffset: 3,
    })
    for (const again of [await broker.kill(), await (await broker.restart()).restart()]) {
      expect(await read(again, 'b')).toEqual(['1', '2', 'other'])
    }
  })

  test('may begin at the end, at the beginning, at a cursor, behind a checkpoint and in a batch of tokens', async () => {
    const { broker, peer, epoch } = await start()
    await peer.append({ sequence: 0 }, message('1'), checkpoint('c', json({ step: 1 })))
    const { fence } = await peer.ask(UP.openStream, 0, 0, 1, 's', 'create')
    await peer.append({ sequence: 2, fence: fence as number }, ...tokens('s', 't1', 't2', 't3'))
    const incarnation = peer.welcome?.incarnation as string
    const at = async (as: string, point?: object): Promise<number> => {
      const { offset } = await peer.ask(UP.fork, 'a', as, point === undefined ? {} : { at: point })
      return offset
    }
    expect(await at('end')).toBe(6)
    expect(await at('beginning', { offset: 0 })).toBe(0)
    expect(await at('cursor', { cursor: formatCursor({ incarnation, epoch, next: 5 }) })).toBe(5)
    expect(await at('checkpoint', { checkpoint: 'c' })).toBe(2)
    expect(await read(broker, 'end')).toEqual(['1', '{"step":1}', '', 't1', 't2', 't3'])
    expect(await read(broker, 'beginning')).toEqual([])
    expect(await read(broker, 'cursor')).toEqual(['1', '{"step":1}', '', 't1', 't2'])
    expect(await read(broker, 'checkpoint')).toEqual(['1', '{"step":1}'])
  })

  test('may be of a topic that is dormant, large, trimmed or closed, and of another fork', async () => {
    const { broker, peer } = await start()
    const values = Array.from({ length: 40 }, (_, i) => `${i}`.padEnd(8_000, 'x'))
    for (const [i, value] of values.entries()) await peer.append({ sequence: i }, message(value))
    await peer.ask(UP.trim, 0, 0, values.length, { before: 7 })
    await broker.drop(peer)
    await broker.dormant()
    const other = await broker.peer()
    expect(await other.ask(UP.fork, 'a', 'b', { at: { offset: 35 } })).toMatchObject({ firstOffset: 7, offset: 35 })
    await other.attach('b', { producer: 'p' })
    await other.append({ sequence: 0 }, message('own'))
    expect(await other.ask(UP.fork, 'b', 'c', {})).toMatchObject({ firstOffset: 7, offset: 36 })
    expect(await other.ask(UP.fork, 'c', 'd', { at: { offset: 20 } })).toMatchObject({ firstOffset: 7, offset: 20 })
    expect(await read(broker, 'c')).toEqual([...values.slice(7, 35), 'own'])
    expect(await read(broker, 'd')).toEqual(values.slice(7, 20))
    expect(await codeOf(other.ask(UP.fork, 'a', 'e', { at: { offset: 6 } }))).toBe('TRIMMED')
    expect((await other.ask(UP.describe, 'b')).bytes).toBeLessThan(100)
  })

  test('has context, checkpoints, record ids and ended streams as of the fork point', async () => {
    const { broker, peer } = await start()
    await peer.append({ sequence: 0 }, context('set', 'n', text('old')), checkpoint('c', json(1)))
    await peer.append({ sequence: 1 }, message('once', 'id-1'))
    const { fence } = await peer.ask(UP.openStream, 0, 0, 2, 's', 'create')
    await peer.append({ sequence: 3, fence: fence as number }, streamEnd('done', 's'))
    const { nextOffset: at } = await peer.ask(UP.describe, 'a')
    await peer.append({ sequence: 4 }, context('set', 'n', text('new')), checkpoint('c', json(2)))
    await peer.append({ sequence: 5 }, message('twice', 'id-2'))
    await peer.ask(UP.fork, 'a', 'b', { at: { offset: at } })
    for (const [i, there] of [broker, await broker.kill()].entries()) {
      const reader = await there.peer()
      await reader.attach('b', { producer: 'p' })
      expect(await reader.ask(UP.context, 0, {})).toMatchObject({
        entries: [{ name: 'n', pieces: [{ value: 'old' }] }],
      })
      expect((await reader.ask(UP.checkpoints, 0, {})).checkpoints).toMatchObject([{ name: 'c', offset: 1 }])
      expect(await reader.ask(UP.resume, 0, { checkpoint: 'c' })).toMatchObject({
        checkpoint: { state: { value: '1' } },
      })
      expect(await reader.ask(UP.stream, 0, 's')).toMatchObject({ stream: { state: 'done' } })
      expect(await reader.append({ sequence: 0 }, message('again', 'id-1'))).toBe(2)
      expect(await reader.append({ sequence: 1 }, message('twice', 'id-2')), `${i}`).toBe(at)
    }
  })

  test('finds a stream that was open there without a writer: it may be continued, else it is lost', async () => {
    const { broker, peer } = await start()
    const { fence } = await peer.ask(UP.openStream, 0, 0, 0, 's', 'create')
    await peer.append({ sequence: 1, fence: fence as number }, ...tokens('s', 'He', 'l'))
    await peer.append({ sequence: 2, fence: fence as number }, ...tokens('s', 'lo'), streamEnd('done', 's'))
    await peer.ask(UP.fork, 'a', 'b', { at: { offset: 3 } })
    await peer.ask(UP.fork, 'a', 'c', { at: { offset: 3 } })
    await peer.attach('b', { producer: 'q' }, 1)
    expect(await peer.ask(UP.stream, 1, 's')).toMatchObject({ stream: { state: 'open', live: false, openOffset: 0 } })
    const own = await peer.ask(UP.openStream, 1, 0, 0, 's', 'join')
    expect(own).toMatchObject({ fence: 3, stream: { state: 'resumed', live: true } })
    await peer.append({ handle: 1, sequence: 1, fence: 3 }, ...tokens('s', 'p'), streamEnd('done', 's'))
    const { epoch } = await peer.ask(UP.describe, 'b')
    const cursor = formatCursor({ incarnation: peer.welcome?.incarnation as string, epoch, next: 0 })
    const resumed = await peer.ask(UP.resume, 1, { cursor })
    expect(resumed.streams).toMatchObject([{ stream: { state: 'done' }, text: [{ text: 'Help' }] }])
    await peer.attach('c', { observe: true }, 2)
    const reading = await peer.read({ start: true }, { raw: true, handle: 2 })
    await broker.pass(() => reading.states('s').includes('lost'), 30)
    expect(reading.text('s')).toBe('Hel')
    expect(await peer.ask(UP.stream, 0, 's')).toMatchObject({ stream: { state: 'done' } })
  })

  test('takes cursors of its parents up to where it shares them; beyond, they have diverged', async () => {
    const { peer, epoch } = await start()
    await peer.append({ sequence: 0 }, message('1'), message('2'), message('3'))
    const b = await peer.ask(UP.fork, 'a', 'b', { at: { offset: 2 } })
    await peer.attach('b', { producer: 'p' }, 1)
    await peer.append({ handle: 1, sequence: 0 }, message('own'), message('own 2'))
    await peer.ask(UP.fork, 'b', 'c', { at: { offset: 3 } })
    await peer.attach('c', { producer: 'p' }, 2)
    const incarnation = peer.welcome?.incarnation as string
    const cursor = (of: number, next: number): string => formatCursor({ incarnation, epoch: of, next })
    const reading = await peer.read({ cursor: cursor(epoch, 1) }, { raw: true, handle: 2 })
    await peer.until(() => reading.position === 3)
    expect(valuesOf(reading)).toEqual(['2', 'own'])
    const c = await peer.ask(UP.describe, 'c')
    expect(await peer.ask(UP.resume, 2, { cursor: cursor(b.epoch, 3) })).toMatchObject({
      outcome: 'continued',
      cursor: cursor(c.epoch, 3),
    })
    expect(await peer.ask(UP.resume, 2, { cursor: cursor(epoch, 3) })).toMatchObject({
      outcome: 'diverged',
      commonOffset: 2,
    })
    expect(await codeOf(peer.ask(UP.subscribe, 2, 9, { cursor: cursor(b.epoch, 4) }, {}))).toBe('DIVERGED')
    expect(await peer.ask(UP.resume, 2, { cursor: cursor(epoch + 77, 0) })).toMatchObject({ outcome: 'recreated' })
    expect(await peer.ask(UP.resume, 0, { cursor: cursor(c.epoch, 1) })).toMatchObject({ outcome: 'recreated' })
  })
})

describe('data that is shared', () => {
  test('stays while the parent is trimmed and deleted, and goes with the last fork', async () => {
    const { broker, peer } = await start()
    const values = Array.from({ length: 30 }, (_, i) => `${i}`.padEnd(8_000, 'x'))
    for (const [i, value] of values.entries()) await peer.append({ sequence: i }, message(value))
    await peer.ask(UP.fork, 'a', 'b', { at: { offset: 20 } })
    await peer.ask(UP.fork, 'b', 'c', { at: { offset: 15 } })
    await peer.ask(UP.trim, 0, 0, values.length, { before: 29 })
    expect((await peer.ask(UP.describe, 'a')).firstOffset).toBe(29)
    await peer.ask(UP.delete, 'a', null)
    await peer.ask(UP.delete, 'b', null)
    const next = await (await broker.restart()).kill()
    expect(await read(next, 'c')).toEqual(values.slice(0, 15))
    const other = await next.peer()
    expect(await codeOf(other.ask(UP.describe, 'a'))).toBe('NOT_FOUND')
    // The name may be used again: the records are kept by epoch.
    expect(await other.attach('a', {}, 3)).toMatchObject({ created: true, nextOffset: 0 })
    expect(await read(next, 'c')).toEqual(values.slice(0, 15))
    await other.ask(UP.delete, 'c', null)
    expect(await codeOf(other.ask(UP.describe, 'c'))).toBe('NOT_FOUND')
  })

  test('is there with the contents of large messages, and those of the fork are its own', async () => {
    const { broker, peer } = await start()
    const [shared, own] = [contentOf(LIMITS.partBytes + 5, 1), contentOf(LIMITS.partBytes + 9, 2)]
    await upload(peer, { uploadId: 'u' }, shared)
    await peer.append({ sequence: 0 }, large('u', shared))
    await peer.ask(UP.fork, 'a', 'b', {})
    await peer.attach('b', { producer: 'p' }, 1)
    // The same upload id, which is another one in another topic.
    await upload(peer, { uploadId: 'u', handle: 1 }, own)
    expect(await peer.append({ handle: 1, sequence: 0 }, large('u', own))).toBe(1)
    await peer.ask(UP.delete, 'a', null)
    let there = broker
    for (const next of ['kill', 'restart', null] as const) {
      const reader = await there.peer()
      await reader.attach('b', { observe: true })
      expect((await fetchAll(reader, 0)).equals(shared)).toBe(true)
      expect((await fetchAll(reader, 1)).equals(own)).toBe(true)
      if (next !== null) there = await there[next]()
    }
  })

  test('is trimmed in the fork alone, and counted once', async () => {
    const { broker, peer } = await start()
    await peer.append({ sequence: 0 }, message('1'), message('2'))
    await peer.append({ sequence: 1 }, message('3'))
    await peer.ask(UP.fork, 'a', 'b', {})
    expect((await peer.ask(UP.describe, 'b')).bytes).toBe(0)
    await peer.attach('b', { producer: 'p' }, 1)
    await peer.append({ handle: 1, sequence: 0 }, message('own'))
    const { bytes } = await peer.ask(UP.describe, 'b')
    expect(bytes).toBeGreaterThan(0)
    expect(await peer.ask(UP.trim, 1, 0, 1, { before: 2 })).toEqual({ firstOffset: 2 })
    expect((await peer.ask(UP.describe, 'b')).bytes).toBe(bytes)
    expect(await read(broker, 'b')).toEqual(['3', 'own'])
    expect(await read(broker, 'a')).toEqual(['1', '2', '3'])
    expect(await peer.ask(UP.trim, 1, 0, 2, { before: 4 })).toEqual({ firstOffset: 4 })
    expect((await peer.ask(UP.describe, 'b')).bytes).toBe(0)
  })
})

describe('a repeat', () => {
  test('finds the fork that is there; any other topic of the name is TOPIC_EXISTS', async () => {
    const { peer } = await start()
    await peer.append({ sequence: 0 }, message('1'), message('2'))
    const first = await peer.ask(UP.fork, 'a', 'b', { at: { offset: 1 } })
    expect(await peer.ask(UP.fork, 'a', 'b', { at: { offset: 1 } })).toEqual({ ...first, created: false })
    expect(await peer.ask(UP.fork, 'a', 'b', {})).toEqual({ ...first, created: false })
    expect(await refusalOf(peer.ask(UP.fork, 'a', 'b', { at: { offset: 2 } }))).toMatchObject({
      code: 'TOPIC_EXISTS',
      details: { topic: 'b' },
    })
    expect(await codeOf(peer.ask(UP.fork, 'b', 'a', {}))).toBe('TOPIC_EXISTS')
    expect(await codeOf(peer.ask(UP.fork, 'a', 'a', {}))).toBe('TOPIC_EXISTS')
    const both = await Promise.all([peer.ask(UP.fork, 'a', 'c', {}), peer.ask(UP.fork, 'a', 'c', {})])
    expect(both.map(({ created }) => created).sort()).toEqual([false, true])
  })
})

describe('refused is', () => {
  test('one more than 256 forks one of another, each of which reads what the first one has', async () => {
    const { broker, peer } = await start()
    await peer.append({ sequence: 0 }, message('shared'))
    let parent = 'a'
    for (let i = 1; i <= LIMITS.forkDepth; i++) {
      await peer.ask(UP.fork, parent, `f${i}`, {})
      parent = `f${i}`
    }
    expect(await refusalOf(peer.ask(UP.fork, parent, 'one-more', {}))).toMatchObject({
      code: 'LIMIT_EXCEEDED',
      details: { limit: 'forkDepth', value: LIMITS.forkDepth + 1, bound: LIMITS.forkDepth },
    })
    const restarted = await broker.restart()
    expect(await read(restarted, parent)).toEqual(['shared'])
  })

  test('what is not there, what is beyond the end, and another incarnation', async () => {
    const { peer, epoch } = await start()
    expect(await codeOf(peer.ask(UP.fork, 'nobody', 'b', {}))).toBe('NOT_FOUND')
    expect(await codeOf(peer.ask(UP.fork, 'nobody', 'b', { epoch }))).toBe('GONE')
    expect(await codeOf(peer.ask(UP.fork, 'a', 'b', { at: { offset: 1 } }))).toBe('OFFSET_BEYOND_END')
    expect(await codeOf(peer.ask(UP.fork, 'a', 'b', { epoch: epoch + 1 }))).toBe('RECREATED')
    expect(await codeOf(peer.ask(UP.fork, 'a', 'b/', {}))).toBe('BAD_NAME')
    expect(await codeOf(peer.ask(UP.fork, 'a', 'b', { at: { checkpoint: 'c' } }))).toBe('CHECKPOINT_UNKNOWN')
    expect(await codeOf(peer.ask(UP.describe, 'b'))).toBe('NOT_FOUND')
  })
})
