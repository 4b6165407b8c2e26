/** Topics that are attached and dormant: their state leaves memory, and nobody who uses them sees that it was gone. */

import { describe, expect, test } from 'vitest'
import { UP } from '../../protocol/index.ts'
import { MemoryDisk, openMemoryStore, type Store } from '../../storage/index.ts'
import { message, TestBroker, token } from './brokers.ts'
import { HeldStore } from './held-store.ts'
import { codeOf, type Peer } from './peer.ts'
import { eventually } from './virtual-clock.ts'

/** A topic with one record, attached as handle 0, and dormant. */
async function dormantTopic(broker: TestBroker): Promise<Peer> {
  const peer = await broker.peer()
  await peer.attach('a', { producer: 'p' })
  await peer.append({ sequence: 0 }, message('first'))
  await broker.dormant()
  return peer
}

/** Writes of the table wait until the function that it returns is called. */
function holdWrites(store: Store): () => void {
  const { write } = store.table
  let release = (): void => undefined
  const gate = new Promise<void>((resolve) => {
    release = resolve
  })
  store.table.write = async (changes) => {
    await gate
    return write.call(store.table, changes)
  }
  return release
}

describe('a topic that is attached and not used', () => {
  test('leaves memory, stays attached, and knows its producers when it is used again', async () => {
    const broker = await TestBroker.start()
    const peer = await dormantTopic(broker)
    expect(broker.broker.stats()).toMatchObject({ residentTopics: 0, attachments: 1 })
    const other = await broker.peer()
    expect(await other.ask(UP.describe, 'a')).toMatchObject({ hold: 'attached', residency: 'dormant', attachments: 1 })
    await broker.dormant()
    expect(await peer.append({ sequence: 0 }, message('first'))).toBe(0)
    expect(await peer.append({ sequence: 1 }, message('second'))).toBe(1)
    expect(await codeOf(peer.append({ sequence: 3 }, message('fourth')))).toBe('SEQUENCE_GAP')
  })

  test('goes on delivering to its readers', async () => {
    const broker = await TestBroker.start()
    const writer = await dormantTopic(broker)
    const reader = await broker.peer()
    await reader.attach('a')
    const reading = await reader.read({ start: true })
    await eventually(() => reading.records.length === 1)
    for (let sequence = 1; sequence < 4; sequence++) {
      await broker.dormant()
      await writer.append({ sequence }, message(`record ${sequence}`))
    }
    await eventually(() => reading.records.length === 4)
    expect(reading.records.slice(1).map(({ data }) => data)).toEqual([1, 2, 3].map((i) => `text:record ${i}`))
  })

  test('stays in memory while a stream of it is open', async () => {
    const broker = await TestBroker.start()
    const peer = await broker.peer()
    await peer.attach('a', { producer: 'p' })
    const { fence } = await peer.ask(UP.openStream, 0, 0, 0, 's', 'create')
    await broker.clock.advance(600_000)
    expect(broker.broker.stats().residentTopics).toBe(1)
    await peer.append({ sequence: 1, fence: fence as number }, token('s', 'x'))
    await peer.ask(UP.stop, 0, null, {})
    await broker.dormant()
  })

  test('is woken once for all that wait for it, and does what they ask in their order', async () => {
    const store = await HeldStore.open()
    const broker = await TestBroker.start({ store })
    const [peer, other] = [await dormantTopic(broker), await broker.peer()]
    await other.attach('b', {}, 1)
    store.hold()
    const [second, third, trimmed] = peer.together(() => [
      peer.append({ sequence: 1 }, message('second')),
      peer.append({ sequence: 2 }, message('third')),
      peer.ask(UP.trim, 0, 0, 3, { before: 1 }),
    ])
    const attached = other.attach('a', { create: false })
    await eventually(() => store.waiting > 0)
    await other.roundTrip()
    expect(store.waiting).toBe(1)
    store.release()
    expect([await second, await third]).toEqual([1, 2])
    expect((await trimmed).firstOffset).toBe(1)
    expect((await attached).created).toBe(false)
  })

  test('is woken also when it is detached at once', async () => {
    const broker = await TestBroker.start({ lingerMs: 1000 })
    const peer = await dormantTopic(broker)
    peer.append({ sequence: 1 }, message('second'))
    await peer.ask(UP.detach, 0)
    expect(await codeOf(peer.ask(UP.stream, 0, 's'))).toBe('UNKNOWN_HANDLE')
    expect(await peer.ask(UP.describe, 'a')).toMatchObject({ hold: 'lingering', nextOffset: 2 })
    await broker.pass(() => broker.broker.stats().reclaimed === 1, 10)
  })

  test('gives the numbers of its readers back with the detach, although it must be woken for that', async () => {
    const broker = await TestBroker.start()
    const peer = await dormantTopic(broker)
    await peer.attach('a', {}, 1)
    const reading = await peer.read({ start: true }, { handle: 1, id: 5 })
    await eventually(() => reading.records.length === 1)
    await broker.dormant()
    const answers = peer.together(() => [peer.ask(UP.detach, 1), peer.ask(UP.subscribe, 0, 5, { start: true }, {})])
    expect(await Promise.all(answers)).toMatchObject([{}, { nextOffset: 1 }])
  })

  test('is held until its last attachment ends, and then lingers and goes', async () => {
    const broker = await TestBroker.start({ lingerMs: 60_000 })
    const peer = await dormantTopic(broker)
    await broker.clock.advance(600_000)
    expect(broker.broker.stats().reclaimed).toBe(0)
    await broker.drop(peer)
    await broker.pass(() => broker.broker.stats().reclaimed === 1, 70)
    expect((await (await broker.peer()).ask(UP.list, '', {})).topics).toEqual([])
  })

  test('tells who has attached when another client deletes it', async () => {
    const broker = await TestBroker.start()
    const peer = await dormantTopic(broker)
    const other = await broker.peer()
    expect(await other.ask(UP.delete, 'a', null)).toEqual({ deleted: true })
    await peer.notice('deleted')
    expect(await codeOf(peer.append({ sequence: 1 }, message('second')))).toBe('GONE')
  })

  test('keeps its own bounds, by what is stored now', async () => {
    const broker = await TestBroker.start({ limits: { topic: { bytes: 60 } } })
    const peer = await dormantTopic(broker)
    await peer.append({ sequence: 1 }, message('second'))
    await broker.dormant()
    await peer.append({ sequence: 2 }, message('third'))
    await broker.dormant()
    expect(await codeOf(peer.append({ sequence: 3 }, message('x'.repeat(20))))).toBe('LIMIT_EXCEEDED')
  })

  test('refuses all that is asked of it while its head is damaged, and nothing else', async () => {
    const store: Store = await openMemoryStore(new MemoryDisk())
    const broker = await TestBroker.start({ store })
    const peer = await dormantTopic(broker)
    const { getMany } = store.table
    store.table.getMany = async (keys) => {
      const values = await getMany.call(store.table, keys)
      return values.map((value) => value && Buffer.from(value.map((byte, i) => (i === 9 ? byte ^ 1 : byte))))
    }
    const answers = [peer.append({ sequence: 1 }, message('second')), peer.ask(UP.checkpoints, 0, {})]
    expect(await Promise.all(answers.map(codeOf))).toEqual(['STORE_CORRUPT', 'STORE_CORRUPT'])
    store.table.getMany = getMany
    expect(await peer.append({ sequence: 1 }, message('second'))).toBe(1)
  })

  test('is not left behind by a write of its time that still waits, which would undo what comes after it', async () => {
    const disk = new MemoryDisk()
    const store = await openMemoryStore(disk)
    const broker = await TestBroker.start({ store, quietMs: 1e9 })
    const [peer, others] = [await broker.peer(), await broker.peer()]
    await peer.attach('a', { producer: 'p' })
    await peer.append({ sequence: 0 }, message('first'))
    await peer.ask(UP.detach, 0)
    await broker.dormant()
    for (const handle of [1, 2, 3]) await others.attach(`other/${handle}`, {}, handle)
    await peer.attach('a')
    const release = holdWrites(store)
    // As many writes of the table as there may be at once, and then one of the time at which `a` is to go.
    for (const handle of [1, 2, 3]) {
      await others.ask(UP.detach, handle)
      await broker.clock.advance(1000)
    }
    await peer.ask(UP.detach, 0)
    for (let second = 0; second < 12; second++) await broker.clock.advance(1000)
    await peer.attach('a', { producer: 'p' })
    for (let second = 0; second < 20; second++) await broker.clock.advance(1000)
    expect(await peer.append({ sequence: 1 }, message('second'))).toBe(1)
    release()
    await broker.pass(() => broker.broker.stats().residentTopics === 1)
    const killed = await TestBroker.start({ clock: broker.clock }, disk.copy())
    expect(await (await killed.peer()).attach('a', { create: false })).toMatchObject({ nextOffset: 2 })
  })

  test('is there for who comes when another one has let it fall asleep at once', async () => {
    const store = await HeldStore.open()
    const broker = await TestBroker.start({ store, residencyIdleMs: 0 })
    const [peer, other, third] = [await broker.peer(), await broker.peer(), await broker.peer()]
    await peer.attach('a', { producer: 'p' })
    await other.attach('a')
    await peer.append({ sequence: 0 }, message('first'))
    await broker.dormant()
    store.hold()
    const detached = peer.ask(UP.detach, 0)
    await eventually(() => store.waiting > 0)
    const attached = third.attach('a')
    await third.roundTrip()
    store.release()
    await detached
    expect(await attached).toMatchObject({ created: false, nextOffset: 1 })
  })

  test('can be read again however long its linger is', async () => {
    const broker = await TestBroker.start()
    const peer = await broker.peer()
    await peer.attach('a', { producer: 'p', policy: { lingerMs: Number.MAX_SAFE_INTEGER } })
    await peer.append({ sequence: 0 }, message('first'))
    await broker.dormant()
    expect(await peer.append({ sequence: 1 }, message('second'))).toBe(1)
    expect((await peer.ask(UP.list, '', {})).topics).toMatchObject([{ name: 'a', nextOffset: 2 }])
    await peer.ask(UP.detach, 0)
    expect((await peer.ask(UP.describe, 'a')).reclaimAtMs).toBeLessThan(Number.MAX_SAFE_INTEGER)
  })

  test('is left by a detach also while it cannot be read: the handle is free, and the linger begins later', async () => {
    const store = await HeldStore.open()
    const broker = await TestBroker.start({ store, lingerMs: 5000 })
    const peer = await dormantTopic(broker)
    store.unreadable = true
    expect(await codeOf(peer.ask(UP.detach, 0))).toBe('STORE_UNAVAILABLE')
    expect(broker.broker.stats().attachments).toBe(0)
    await broker.clock.advance(10_000)
    store.unreadable = false
    expect(await peer.attach('b')).toMatchObject({ created: true })
    await broker.pass(() => broker.broker.stats().reclaimed === 1, 10)
    expect(await codeOf(peer.ask(UP.describe, 'a'))).toBe('NOT_FOUND')
  })
})
