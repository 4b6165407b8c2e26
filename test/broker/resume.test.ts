/** Checkpoints, context as of an offset, and what resuming answers. */

import { describe, expect, test } from 'vitest'
import { type DataInfo, formatCursor, LIMITS, parseCursor, UP } from '../../protocol/index.ts'
import { checkpoint, context, json, message, streamEnd, TestBroker, text, token, tokens } from './brokers.ts'
import { codeOf, type Peer } from './peer.ts'

async function start(options = {}): Promise<{ broker: TestBroker; peer: Peer }> {
  const broker = await TestBroker.start({ residencyIdleMs: 100, ...options })
  const peer = await broker.peer()
  await peer.attach('a', { producer: 'p' })
  return { broker, peer }
}

/** The topic as it is after it has left memory and come back. */
async function fromTable(broker: TestBroker, peer: Peer): Promise<Peer> {
  await broker.drop(peer)
  await broker.dormant()
  const next = await broker.peer()
  await next.attach('a', { producer: 'p' })
  return next
}

const cursorAt = async (peer: Peer, next: number): Promise<string> => {
  const { epoch } = await peer.ask(UP.describe, 'a')
  return formatCursor({ incarnation: peer.welcome?.incarnation as string, epoch, next })
}

const shown = (pieces: readonly DataInfo[]): string[] => pieces.map(({ value }) => String(value))

describe('checkpoints', () => {
  test('are stored with the records before them or not at all', async () => {
    const { peer } = await start()
    const both = [message('a'), checkpoint('c', json({ step: 1 }))]
    expect(await codeOf(peer.append({ sequence: 0 }, ...both, message('b', 'late id')))).toBe('BAD_REQUEST')
    expect(await codeOf(peer.ask(UP.resume, 0, { checkpoint: 'c' }))).toBe('CHECKPOINT_UNKNOWN')
    await peer.append({ sequence: 0 }, ...both)
    const { checkpoints } = await peer.ask(UP.checkpoints, 0, {})
    expect(checkpoints).toMatchObject([{ name: 'c', offset: 1, state: { tag: 'json', value: '{"step":1}' } }])
    expect(parseCursor(checkpoints[0]?.cursor as string).next).toBe(2)
  })

  test('are listed newest first, page by page, from memory and table', async () => {
    const { broker, peer } = await start()
    for (let i = 0; i < 5; i++) await peer.append({ sequence: i }, checkpoint(`c${i % 2}`, json(i)))
    let reader = peer
    for (const where of ['memory', 'table', 'both']) {
      if (where === 'table') reader = await fromTable(broker, peer)
      if (where === 'both') await reader.append({ sequence: 5 }, checkpoint('c5', json(5)))
      const offsets: number[] = []
      let before: number | undefined
      for (let more = true; more; ) {
        const page = await reader.ask(UP.checkpoints, 0, { before, limit: 2 })
        offsets.push(...page.checkpoints.map(({ offset }) => offset))
        before = offsets.at(-1)
        more = page.more
      }
      expect(offsets).toEqual(where === 'both' ? [5, 4, 3, 2, 1, 0] : [4, 3, 2, 1, 0])
      const latest = await reader.ask(UP.resume, 0, { checkpoint: null })
      expect(latest.checkpoint?.offset).toBe(where === 'both' ? 5 : 4)
      expect((await reader.ask(UP.resume, 0, { checkpoint: 'c1' })).checkpoint?.state?.value).toBe('3')
    }
    expect(await reader.ask(UP.describe, 'a')).toMatchObject({ checkpoints: 6, contextEntries: 0 })
    expect(await codeOf(reader.ask(UP.checkpoints, 0, { limit: 0 }))).toBe('BAD_REQUEST')
  })
})

describe('context', () => {
  test('is set, appended to and deleted, and read as of any offset, also after a flush and a restart', async () => {
    const setup = await start()
    let { broker, peer } = setup
    const changes = [
      context('set', 'plan', json([1])),
      context('append', 'plan', json(2)),
      context('set', 'notes', text('a')),
      context('append', 'notes', text('b')),
      context('append', 'notes', text('c')),
      context('delete', 'plan'),
      context('append', 'plan', json(3)),
      context('delete', 'notes'),
    ]
    for (const [sequence, change] of changes.entries()) await peer.append({ sequence }, change)
    const expected: Record<number, Record<string, string[]>> = {
      0: {},
      1: { plan: ['[1]'] },
      2: { plan: ['[1]', '2'] },
      4: { plan: ['[1]', '2'], notes: ['ab'] },
      5: { plan: ['[1]', '2'], notes: ['abc'] },
      6: { notes: ['abc'] },
      7: { plan: ['3'], notes: ['abc'] },
      8: { plan: ['3'] },
    }
    const check = async (): Promise<void> => {
      for (const [asOf, entries] of Object.entries(expected)) {
        const page = await peer.ask(UP.context, 0, { asOf: Number(asOf) })
        const found = Object.fromEntries(page.entries.map(({ name, pieces }) => [name, shown(pieces)]))
        expect([asOf, found]).toEqual([asOf, entries])
      }
      expect((await peer.ask(UP.context, 0, {})).entries).toMatchObject([{ name: 'plan', offset: 6 }])
      expect((await peer.ask(UP.context, 0, { name: 'notes' })).entries).toEqual([])
      expect((await peer.ask(UP.context, 0, { name: 'notes', asOf: 3 })).entries).toHaveLength(1)
      expect((await peer.ask(UP.describe, 'a')).contextEntries).toBe(1)
    }
    await check()
    peer = await fromTable(broker, peer)
    await check()
    broker = await broker.kill()
    peer = await broker.peer()
    await peer.attach('a', { producer: 'p' })
    await check()
    await peer.append({ sequence: 8 }, context('append', 'plan', json(4)))
    expect(shown((await peer.ask(UP.context, 0, { name: 'plan' })).entries[0]?.pieces ?? [])).toEqual(['3', '4'])
  })

  test('comes in pages, and a page is not empty because many entries before it were deleted', async () => {
    const { peer } = await start()
    const records = Array.from({ length: 20 }, (_, i) => context('set', `n${String(i).padStart(2, '0')}`, json(i)))
    const deleted = Array.from({ length: 15 }, (_, i) => context('delete', `n${String(i).padStart(2, '0')}`))
    await peer.append({ sequence: 0 }, ...records)
    await peer.append({ sequence: 1 }, ...deleted)
    const names: string[] = []
    let after: string | undefined
    for (let more = true; more; ) {
      const page = await peer.ask(UP.context, 0, { after, limit: 2 })
      expect(page.entries.length).toBeGreaterThan(0)
      names.push(...page.entries.map(({ name }) => name))
      after = names.at(-1)
      more = page.more
    }
    expect(names).toEqual(['n15', 'n16', 'n17', 'n18', 'n19'])
  })

  test('larger than an answer comes in several, and one entry that fits none is LIMIT_EXCEEDED', async () => {
    const { peer } = await start()
    const large = text('x'.repeat(200_000))
    for (let i = 0; i < 8; i++) await peer.append({ sequence: i }, context('set', `n${i}`, large))
    const page = await peer.ask(UP.context, 0, {})
    expect([page.entries.length, page.more]).toEqual([5, true])
    for (let i = 8; i < 33; i++) await peer.append({ sequence: i }, context('append', 'n0', large))
    expect(await codeOf(peer.ask(UP.context, 0, { name: 'n0' }))).toBe('LIMIT_EXCEEDED')
    const many = Array(10_000).fill(context('append', 'n1', json(1)))
    await peer.append({ sequence: 33 }, ...many)
    await peer.append({ sequence: 34 }, ...many)
    expect(await codeOf(peer.ask(UP.context, 0, { name: 'n1' }))).toBe('LIMIT_EXCEEDED')
    expect((await peer.ask(UP.context, 0, { name: 'n2' })).entries).toHaveLength(1)
    expect(await peer.ask(UP.describe, 'a')).toMatchObject({ contextEntries: 8 })
  })
})

describe('resume', () => {
  test('gives state, context, streams and their text as of a checkpoint in one answer', async () => {
    const setup = await start()
    const { broker } = setup
    let { peer } = setup
    await peer.ask(UP.openStream, 0, 0, 0, 'before', 'create')
    await peer.ask(UP.openStream, 0, 0, 1, 's', 'create')
    await peer.append({ sequence: 2, fence: 0 }, ...tokens('before', 'old'), streamEnd('done', 'before'))
    await peer.append({ sequence: 3, fence: 1 }, ...tokens('s', 'Hel', 'lo'), token('s', 'hm', 'reasoning'))
    await peer.append({ sequence: 4 }, context('set', 'plan', json([1])), checkpoint('c', json({ step: 2 })))
    await peer.append({ sequence: 5, fence: 1 }, token('s', json({ not: 'text' })), token('s', ' world'))
    await peer.append({ sequence: 6 }, context('append', 'plan', json(2)))
    const check = async (state: string): Promise<void> => {
      const resumed = await peer.ask(UP.resume, 0, { checkpoint: 'c' })
      const { outcome, checkpoint: found, context: entries, streams, partial } = resumed
      expect([outcome, partial]).toEqual(['continued', undefined])
      expect(found).toMatchObject({ name: 'c', state: { value: '{"step":2}' } })
      expect(parseCursor(resumed.cursor as string).next).toBe((found?.offset as number) + 1)
      expect(entries?.map(({ name, pieces }) => [name, shown(pieces)])).toEqual([['plan', ['[1]']]])
      expect(streams).toMatchObject([
        {
          stream: { streamId: 's', state, openOffset: 1 },
          text: [
            { part: 'text', text: 'Hello world' },
            { part: 'reasoning', text: 'hm' },
          ],
        },
      ])
      expect(streams).toHaveLength(1)
    }
    await check('open')
    await peer.append({ sequence: 7, fence: 1 }, streamEnd('done', 's'))
    await check('done')
    peer = await fromTable(broker, peer)
    await check('done')
    const later = await peer.ask(UP.resume, 0, { cursor: await cursorAt(peer, 13) })
    expect(later.streams).toEqual([])
  })

  test('answers each outcome of a cursor', async () => {
    const { peer } = await start()
    for (let i = 0; i < 4; i++) await peer.append({ sequence: i }, message(`m${i}`))
    const resume = (cursor: string) => peer.ask(UP.resume, 0, { cursor })
    const cursor = await cursorAt(peer, 2)
    expect(await resume(cursor)).toMatchObject({ outcome: 'continued', cursor, firstOffset: 0, nextOffset: 4 })
    expect(await resume(await cursorAt(peer, 4))).toMatchObject({ outcome: 'continued' })
    expect(await codeOf(resume(await cursorAt(peer, 5)))).toBe('OFFSET_BEYOND_END')
    await peer.ask(UP.trim, 0, 0, 4, { before: 3 })
    expect(await resume(cursor)).toMatchObject({ outcome: 'trimmed', firstOffset: 3, cursor: null })
    const other = `0123456789ab${cursor.slice(12)}`
    expect(await resume(other)).toMatchObject({ outcome: 'diverged', commonOffset: null, cursor: null })
    await peer.ask(UP.delete, 'a', null)
    expect(await codeOf(resume(cursor))).toBe('GONE')
    await peer.attach('a', {}, 1)
    expect(await peer.ask(UP.resume, 1, { cursor })).toMatchObject({ outcome: 'recreated', cursor: null })
    expect(await codeOf(peer.ask(UP.resume, 1, { cursor: 'x' }))).toBe('BAD_CURSOR')
    expect(await codeOf(peer.ask(UP.resume, 1, {}))).toBe('BAD_REQUEST')
    expect(await codeOf(peer.ask(UP.resume, 1, { cursor, checkpoint: null }))).toBe('BAD_REQUEST')
  })

  test('tells of a stream opened before the cursor and ended behind it, with all its text', async () => {
    const setup = await start()
    let { peer } = setup
    await peer.ask(UP.openStream, 0, 0, 0, 's', 'create')
    await peer.append({ sequence: 1, fence: 0 }, ...tokens('s', 'a', 'b'))
    await peer.ask(UP.openStream, 0, 0, 2, 's', 'continue')
    await peer.append({ sequence: 3, fence: 3 }, token('s', 'c'), streamEnd('failed', 's', json({ message: 'no' })))
    for (const where of ['memory', 'table']) {
      if (where === 'table') peer = await fromTable(setup.broker, peer)
      const { streams } = await peer.ask(UP.resume, 0, { cursor: await cursorAt(peer, 2) })
      const stream = { state: 'failed', openOffset: 0, fence: 3, lastOffset: 5, detail: '{"message":"no"}' }
      expect(streams).toMatchObject([{ stream, text: [{ part: 'text', text: 'abc' }] }])
    }
  })

  test('beyond 1 MiB says partial, and leaves text and context out', async () => {
    const { peer } = await start()
    await peer.ask(UP.openStream, 0, 0, 0, 's', 'create')
    await peer.append({ sequence: 1 }, context('set', 'plan', json([1])))
    const large = 'x'.repeat(200_000)
    const cursor = await cursorAt(peer, 0)
    for (let i = 0; i < 5; i++) await peer.append({ sequence: 2 + i, fence: 0 }, token('s', large))
    const whole = await peer.ask(UP.resume, 0, { cursor: await cursorAt(peer, 2) })
    expect(whole.partial).toBe(undefined)
    expect(whole.streams?.[0]?.text[0]?.text).toHaveLength(1_000_000)
    await peer.append({ sequence: 7, fence: 0 }, token('s', large))
    const partial = await peer.ask(UP.resume, 0, { cursor })
    expect(partial).toMatchObject({ outcome: 'continued', cursor, partial: true, context: [] })
    expect(partial.streams).toMatchObject([{ stream: { streamId: 's' }, text: [] }])
  })

  test('with more streams ended since than an answer holds says partial', async () => {
    const { broker, peer } = await start()
    const cursor = await cursorAt(peer, 0)
    const asked: Promise<unknown>[] = []
    for (let i = 0; i < 9000; i++) asked.push(peer.ask(UP.stop, 0, `s${i}`, {}))
    await Promise.all(asked)
    const { partial, streams } = await peer.ask(UP.resume, 0, { cursor })
    expect(partial).toBe(true)
    expect(streams?.length).toBeLessThan(LIMITS.frameElements)
    expect(broker.log).toEqual([])
  })
})
