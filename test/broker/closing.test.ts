/** Closing a topic: who may still do what, what its readers are told, and that it is all of it or nothing. */

import { describe, expect, test } from 'vitest'
import { ByteWriter, parseCursor, UP } from '../../protocol/index.ts'
import { MemoryDisk } from '../../storage/index.ts'
import { message, streamEnd, TestBroker, token, tokens } from './brokers.ts'
import { HeldStore } from './held-store.ts'
import { codeOf, type Fill, type Peer, refusalOf } from './peer.ts'
import { eventually } from './virtual-clock.ts'

interface Closing {
  readonly sequence: number
  readonly epoch?: number
  readonly handle?: number
  readonly fence?: number
}

/** Closes the topic of a handle, with these as its last records. */
function close(peer: Peer, { sequence, epoch = 0, handle = 0, fence }: Closing, ...records: Fill[]) {
  const out = new ByteWriter()
  for (const fill of records) fill(out)
  const last = records.length === 0 ? {} : { records: out.copy(), count: records.length, fence }
  return peer.ask(UP.closeTopic, handle, epoch, sequence, last)
}

async function attached(broker: TestBroker, producer = 'p'): Promise<Peer> {
  const peer = await broker.peer()
  await peer.attach('a', { producer })
  return peer
}

describe('a closed topic', () => {
  test('takes no more records, and says so to all', async () => {
    const broker = await TestBroker.start()
    const [peer, other] = [await attached(broker), await attached(broker, 'q')]
    await peer.append({ sequence: 0 }, message('one'))
    expect(await peer.ask(UP.describe, 'a')).toMatchObject({ closed: false })
    expect(await close(peer, { sequence: 1 })).toEqual({ offset: 1, nextOffset: 1 })
    const refused = await refusalOf(other.append({ sequence: 0 }, message('late')))
    expect([refused.code, refused.details.nextOffset]).toEqual(['CLOSED', 1])
    expect(await codeOf(peer.append({ sequence: 2 }, message('late')))).toBe('CLOSED')
    expect(await codeOf(peer.ask(UP.openStream, 0, 0, 2, 's', 'join'))).toBe('CLOSED')
    expect(await codeOf(peer.ask(UP.stop, 0, 'born stopped', {}))).toBe('CLOSED')
    expect(await codeOf(peer.ask(UP.upload, 0, 'u', { tag: 'bytes' }))).toBe('CLOSED')
    expect(await peer.ask(UP.describe, 'a')).toMatchObject({ closed: true, nextOffset: 1 })
    expect((await peer.ask(UP.list, '', {})).topics).toMatchObject([{ closed: true }])
    expect(await (await broker.peer()).attach('a')).toMatchObject({ closed: true, nextOffset: 1 })
  })

  test('can be closed again, but not with records', async () => {
    const broker = await TestBroker.start()
    const [peer, other] = [await attached(broker), await attached(broker, 'q')]
    await close(peer, { sequence: 0 }, message('last'))
    expect(await close(other, { sequence: 0 })).toEqual({ offset: 1, nextOffset: 1 })
    expect(await codeOf(close(other, { sequence: 1 }, message('late')))).toBe('CLOSED')
    expect(await close(other, { sequence: 1 })).toEqual({ offset: 1, nextOffset: 1 })
  })

  test('acknowledges what was stored before, by its sequence and by its id', async () => {
    const broker = await TestBroker.start()
    const [peer, other] = [await attached(broker), await attached(broker, 'q')]
    expect(await peer.append({ sequence: 0 }, message('one'))).toBe(0)
    expect(await peer.append({ sequence: 1 }, message('two', 'id-2'))).toBe(1)
    expect(await close(peer, { sequence: 2 }, message('last'))).toEqual({ offset: 2, nextOffset: 3 })
    expect(await peer.append({ sequence: 0 }, message('one'))).toBe(0)
    expect(await close(peer, { sequence: 2 }, message('last'))).toEqual({ offset: 2, nextOffset: 3 })
    expect(await other.append({ sequence: 0 }, message('two', 'id-2'))).toBe(1)
    expect(await other.append({ sequence: 0 }, message('two', 'id-2'))).toBe(1)
  })

  test('can still be trimmed, given another policy, and deleted', async () => {
    const broker = await TestBroker.start()
    const peer = await attached(broker)
    await peer.append({ sequence: 0 }, message('one'), message('two'))
    await close(peer, { sequence: 1 })
    expect(await peer.ask(UP.trim, 0, 0, 2, { before: 1 })).toEqual({ firstOffset: 1 })
    expect(await peer.ask(UP.policy, 0, { lingerMs: 7 })).toMatchObject({ policy: { lingerMs: 7 } })
    expect(await peer.ask(UP.delete, 'a', null)).toEqual({ deleted: true })
    expect(await peer.attach('a', { producer: 'p' }, 1)).toMatchObject({ created: true })
    expect(await peer.append({ handle: 1, sequence: 0 }, message('anew'))).toBe(0)
  })
})

describe('closing', () => {
  test('ends the streams that are open as stopped, and tells their writers', async () => {
    const broker = await TestBroker.start()
    const [peer, writer] = [await attached(broker), await attached(broker, 'q')]
    for (const [sequence, streamId] of ['s1', 's2'].entries()) {
      const { fence } = await writer.ask(UP.openStream, 0, 0, sequence * 2, streamId, 'create')
      await writer.append({ sequence: sequence * 2 + 1, fence: fence as number }, ...tokens(streamId, 'a', 'b'))
    }
    const reading = await peer.read({ start: true })
    expect(await close(peer, { sequence: 0 }, message('last'))).toEqual({ offset: 6, nextOffset: 9 })
    await peer.until(() => reading.ended !== null)
    expect([reading.states('s1'), reading.states('s2')]).toEqual([
      ['open', 'stopped'],
      ['open', 'stopped'],
    ])
    expect(reading.messages).toEqual(['text:last'])
    await writer.until(() => writer.notices.length === 2)
    const reason = 'the topic was closed'
    expect(writer.notices).toMatchObject(
      ['s1', 's2'].map((streamId) => ({ what: 'stopped', facts: { streamId, reason } })),
    )
    expect(await codeOf(writer.append({ sequence: 4, fence: 0 }, token('s1', 'late')))).toBe('STREAM_ENDED')
    expect(await peer.ask(UP.describe, 'a')).toMatchObject({ streams: [] })
  })

  test('with the end of a stream stops only the others', async () => {
    const broker = await TestBroker.start()
    const peer = await attached(broker)
    const { fence } = await peer.ask(UP.openStream, 0, 0, 0, 'mine', 'create')
    await peer.ask(UP.openStream, 0, 0, 1, 'other', 'create')
    const reading = await peer.read({ start: true })
    await close(peer, { sequence: 2, fence: fence as number }, token('mine', 'x'), streamEnd('done', 'mine'))
    await peer.until(() => reading.ended !== null)
    expect([reading.states('mine'), reading.states('other')]).toEqual([
      ['open', 'done'],
      ['open', 'stopped'],
    ])
  })

  test('is for writers: not without a producer, not against an exclusive session, and not out of sequence', async () => {
    const broker = await TestBroker.start()
    const [peer, exclusive] = [await attached(broker), await broker.peer()]
    expect(await codeOf(close(peer, { sequence: 1 }))).toBe('PRODUCER_UNKNOWN')
    await exclusive.attach('a', { producer: 'x', exclusive: true })
    expect(await codeOf(close(peer, { sequence: 0 }))).toBe('FENCED')
    const reader = await broker.peer()
    await reader.attach('a')
    expect(await codeOf(close(reader, { sequence: 0 }))).toBe('BAD_REQUEST')
    expect(await peer.ask(UP.describe, 'a')).toMatchObject({ closed: false })
  })

  test('with bad records leaves the topic open', async () => {
    const broker = await TestBroker.start()
    const peer = await attached(broker)
    const bad: Fill = (out) => out.raw(Uint8Array.of(3, 0x09, 0x7b, 0x7b))
    expect(await codeOf(close(peer, { sequence: 0 }, message('good'), bad))).toBe('BAD_VALUE')
    expect(await codeOf(close(peer, { sequence: 0 }, message('x'.repeat(300_000))))).toBe('LIMIT_EXCEEDED')
    expect(await peer.ask(UP.describe, 'a')).toMatchObject({ closed: false, nextOffset: 0 })
    expect(await peer.append({ sequence: 0 }, message('still open'))).toBe(0)
  })
})

describe('a reader of a closed topic', () => {
  test('ends with CLOSED and a cursor at the end when it has got everything, be it live, behind, or new', async () => {
    const broker = await TestBroker.start()
    const [peer, reader] = [await attached(broker), await broker.peer()]
    const { epoch } = await reader.attach('a')
    await peer.append({ sequence: 0 }, message('one'))
    const live = await reader.read({ start: true }, { id: 0 })
    const behind = await reader.read({ start: true }, { id: 1, creditBytes: 1, regrant: false })
    await reader.until(() => live.position === 1 && behind.position === 1)
    await close(peer, { sequence: 1 }, message('last'))
    await reader.until(() => live.ended !== null)
    expect(live.messages).toEqual(['text:one', 'text:last'])
    expect(live.ended).toMatchObject({ code: 'CLOSED', details: { nextOffset: 2 } })
    expect(parseCursor(String(live.ended?.details.cursor))).toMatchObject({ epoch, next: 2 })
    expect([behind.position, behind.ended]).toEqual([1, null])
    reader.send([UP.credit, 1, 1000])
    await reader.until(() => behind.ended !== null)
    expect([behind.position, behind.ended?.code]).toEqual([2, 'CLOSED'])
    for (const [i, from] of [{ start: true }, { live: true }, { offset: 1 }, { last: 0 }].entries()) {
      const late = await reader.read(from, { id: 2 + i, creditBytes: 0, regrant: false })
      reader.send([UP.credit, 2 + i, 1000])
      await reader.until(() => late.ended !== null)
      expect([late.position, late.ended?.code]).toEqual([2, 'CLOSED'])
    }
  })

  test('that has got everything needs no credit to be told', async () => {
    const broker = await TestBroker.start()
    const peer = await attached(broker)
    const reading = await peer.read({ live: true }, { creditBytes: 0, regrant: false })
    await close(peer, { sequence: 0 })
    await peer.until(() => reading.ended !== null)
    expect(reading.ended?.code).toBe('CLOSED')
  })

  test('ends so for each of a crowd', async () => {
    const broker = await TestBroker.start()
    const [peer, reader] = [await attached(broker), await broker.peer()]
    await reader.attach('a')
    const readings = await Promise.all(Array.from({ length: 150 }, (_, id) => reader.read({ start: true }, { id })))
    const closing = peer.together(() => {
      void peer.append({ sequence: 0 }, message('one'))
      return close(peer, { sequence: 1 }, message('last'))
    })
    await closing
    await reader.until(() => readings.every(({ ended }) => ended?.code === 'CLOSED'))
    expect(readings.every(({ messages }) => messages.join() === 'text:one,text:last')).toBe(true)
  })

  test('is not told before it is durable', async () => {
    const store = await HeldStore.open()
    const broker = await TestBroker.start({ store })
    const peer = await attached(broker)
    const reading = await peer.read({ start: true })
    const release = store.holdJournal()
    const closing = close(peer, { sequence: 0 })
    await peer.roundTrip()
    const late = await peer.read({ start: true }, { id: 1 })
    await peer.roundTrip()
    expect([reading.ended, late.ended]).toEqual([null, null])
    release()
    await closing
    await peer.until(() => reading.ended?.code === 'CLOSED' && late.ended?.code === 'CLOSED')
  })
})

describe('whatever happens, a topic is closed', () => {
  test('once, also when the answer is lost and the close is sent again', async () => {
    const broker = await TestBroker.start()
    const peer = await attached(broker)
    const first = await close(peer, { sequence: 0 }, message('last'))
    await broker.drop(peer)
    const again = await attached(broker)
    expect(await close(again, { sequence: 0 }, message('last'))).toEqual(first)
    expect(await again.ask(UP.describe, 'a')).toMatchObject({ nextOffset: 1 })
  })

  test('after a kill, a restart, and time out of memory', async () => {
    let broker = await TestBroker.start()
    const peer = await attached(broker)
    await peer.ask(UP.openStream, 0, 0, 0, 's', 'create')
    await close(peer, { sequence: 1 }, message('last'))
    const check = async (): Promise<void> => {
      const again = await broker.peer()
      expect(await again.attach('a', { producer: 'p' })).toMatchObject({ closed: true, nextOffset: 3 })
      expect(await close(again, { sequence: 1 }, message('last'))).toEqual({ offset: 1, nextOffset: 3 })
      expect(await codeOf(again.append({ sequence: 2 }, message('late')))).toBe('CLOSED')
      const reading = await again.read({ start: true })
      await again.until(() => reading.ended?.code === 'CLOSED')
      expect(reading.states('s')).toEqual(['open', 'stopped'])
      await broker.drop(again)
    }
    broker = await broker.kill()
    await check()
    await broker.dormant()
    await check()
    broker = await broker.restart()
    await check()
    broker = await broker.kill()
    await check()
  })

  test('with its last records and the ends of its streams, or not at all', async () => {
    const disk = new MemoryDisk()
    const store = await HeldStore.open(disk)
    const broker = await TestBroker.start({ store })
    const peer = await attached(broker)
    const { fence } = await peer.ask(UP.openStream, 0, 0, 0, 's', 'create')
    await peer.append({ sequence: 1, fence: fence as number }, token('s', 'x'))
    const release = store.holdJournal()
    const closing = close(peer, { sequence: 2 }, message('y'.repeat(200_000)), message('last'))
    await peer.roundTrip()
    const before = await TestBroker.start({}, disk.copy())
    expect(await (await before.peer()).attach('a')).toMatchObject({ nextOffset: 2 })
    release()
    await closing
    const after = await TestBroker.start({}, disk.copy())
    const reader = await after.peer()
    expect(await reader.attach('a')).toMatchObject({ nextOffset: 5, closed: true })
    const reading = await reader.read({ start: true })
    await eventually(() => reading.ended !== null)
    expect([reading.messages.length, reading.states('s')]).toEqual([2, ['open', 'stopped']])
  })
})
