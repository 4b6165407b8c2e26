/** What happens to a topic while somebody waits for the table, and what becomes of clients when the store fails. */

import { describe, expect, test } from 'vitest'
import { LIMITS, UP } from '../../protocol/index.ts'
import { MemoryDisk } from '../../storage/index.ts'
import { message, streamEnd, TestBroker } from './brokers.ts'
import { HeldStore } from './held-store.ts'
import { codeOf, type Peer } from './peer.ts'
import { eventually } from './virtual-clock.ts'

interface Scene {
  readonly broker: TestBroker
  readonly store: HeldStore
  readonly peer: Peer
  readonly other: Peer
}

/** A topic `a` that has been dormant, so that ids and ended streams are looked up in the table, and is attached again. */
async function scene(): Promise<Scene> {
  const store = await HeldStore.open()
  const broker = await TestBroker.start({ store, residencyIdleMs: 100 })
  const first = await broker.peer()
  await first.attach('a', { producer: 'p' })
  await first.append({ sequence: 0 }, message('x'.repeat(LIMITS.chunkBytes), 'm1'))
  await first.ask(UP.openStream, 0, 0, 1, 'ended', 'create')
  await first.append({ sequence: 2, fence: 1 }, streamEnd('done', 'ended'))
  await broker.drop(first)
  await broker.dormant()
  const [peer, other] = [await broker.peer(), await broker.peer()]
  await peer.attach('a', { producer: 'p' })
  await other.attach('a', { producer: 'q' })
  return { broker, store, peer, other }
}

describe('while the table is asked', () => {
  test('the topic may be deleted: what waits is refused with GONE, and nothing is stored', async () => {
    const { store, peer, other } = await scene()
    store.hold()
    const codes = [
      codeOf(peer.append({ sequence: 3 }, message('late', 'm2'))),
      codeOf(peer.append({ sequence: 4 }, message('later'))),
      codeOf(peer.ask(UP.openStream, 0, 0, 5, 's', 'create')),
      codeOf(peer.ask(UP.stop, 0, 't', {})),
      codeOf(peer.ask(UP.trim, 0, 0, 6, { before: 1 })),
      codeOf(peer.read({ timeMs: 1 })),
      codeOf(peer.ask(UP.resume, 0, { checkpoint: null })),
    ]
    await eventually(() => store.waiting > 0)
    await other.ask(UP.delete, 'a', null)
    const anew = other.attach('a', { producer: 'q' }, 1)
    store.release()
    expect(await anew).toMatchObject({ created: true, nextOffset: 0 })
    const expected = [...Array(6).fill('GONE'), expect.stringMatching(/GONE|CHECKPOINT_UNKNOWN/)]
    expect(await Promise.all(codes)).toEqual(expected)
    expect((await other.ask(UP.describe, 'a')).nextOffset).toBe(0)
    expect(await other.append({ handle: 1, sequence: 0 }, message('new'))).toBe(0)
  })

  test('the client may go: its stream is not live ever after', async () => {
    const { broker, store, peer, other } = await scene()
    store.hold()
    void peer.ask(UP.openStream, 0, 0, 3, 's', 'create')
    await eventually(() => store.waiting > 0)
    await broker.drop(peer)
    store.release()
    expect((await other.ask(UP.stream, 0, 's')).stream?.live ?? false).toBe(false)
    expect(await codeOf(other.ask(UP.openStream, 0, 0, 0, 's', 'join'))).toBe('ok')
  })

  test('the handle may be detached: the subscription never begins', async () => {
    const { store, peer } = await scene()
    store.hold()
    const code = codeOf(peer.read({ timeMs: 1 }))
    await eventually(() => store.waiting > 0)
    await peer.ask(UP.detach, 0)
    store.release()
    expect(await code).toBe('UNKNOWN_HANDLE')
    await peer.attach('a', { producer: 'p' })
    expect((await peer.read({ start: true }, { id: 0 })).start).toBe(0)
  })

  test('the same dormant topic may be attached by many: it is loaded once', async () => {
    const { broker, store, peer, other } = await scene()
    await broker.drop(peer)
    await broker.drop(other)
    await broker.dormant()
    const peers = [await broker.peer(), await broker.peer(), await broker.peer()]
    store.hold()
    const attaching = peers.map((one, i) => one.attach('a', { producer: `p${i}` }))
    await eventually(() => store.waiting === 1)
    store.release()
    expect(new Set((await Promise.all(attaching)).map(({ epoch }) => epoch)).size).toBe(1)
    const readings = await Promise.all(peers.map((one) => one.read({ live: true })))
    await peers[0]?.append({ sequence: 0 }, message('hi'))
    for (const [i, one] of peers.entries()) await one.until(() => readings[i]?.messages[0] === 'text:hi')
  })

  test('the records may be trimmed: the reader ends with TRIMMED, and crosses no hole', async () => {
    const { store, peer, other } = await scene()
    store.hold()
    const reading = await peer.read({ start: true })
    await eventually(() => store.waiting > 0)
    await other.append({ sequence: 0 }, message('more'))
    const trimming = other.ask(UP.trim, 0, 0, 1, { before: 2 })
    await eventually(() => store.waiting > 1)
    store.release()
    await trimming
    await peer.until(() => reading.ended !== null || reading.position === 4)
    if (reading.ended !== null) expect(reading.ended.code).toBe('TRIMMED')
    else expect(reading.records.map(({ offset }) => offset)).toEqual([0, 1, 2, 3])
  })

  test('what is appended behind a lookup keeps its turn, and each refusal names its own append', async () => {
    const { store, peer } = await scene()
    store.hold()
    const answers = peer.together(() => [
      peer.append({ sequence: 3 }, message('again', 'm1')),
      codeOf(peer.append({ sequence: 4, fence: 1 }, streamEnd('done', 'ended'))),
      codeOf(peer.append({ sequence: 5 }, message('behind a refusal'))),
      peer.append({ sequence: 4 }, message('four')),
      peer.append({ sequence: 5 }, message('five', 'm5')),
    ])
    await eventually(() => store.waiting > 0)
    store.release()
    expect(await Promise.all(answers)).toEqual([0, 'STREAM_ENDED', 'SEQUENCE_GAP', 3, 4])
  })
})

describe('while a deletion is not durable yet', () => {
  test('nobody is told of it: not who appends, nor who reads, asks or attaches', async () => {
    const { broker, store, peer, other } = await scene()
    const reading = await peer.read({ start: true }, { creditBytes: 1, regrant: false })
    const commit = store.holdJournal()
    const told: string[] = []
    const note = (what: Promise<string>) => what.then((code) => told.push(code))
    const third = await broker.peer()
    const { epoch } = await other.ask(UP.describe, 'a')
    const answers = peer.together(() => [
      note(peer.ask(UP.delete, 'a', null).then(() => 'deleted')),
      note(codeOf(peer.append({ sequence: 3 }, message('late')))),
      note(codeOf(peer.ask(UP.resume, 0, { checkpoint: null }))),
    ])
    peer.send([UP.credit, 0, 1_000_000])
    await peer.roundTrip()
    answers.push(note(codeOf(third.attach('a', { epoch }))))
    answers.push(note(third.ask(UP.delete, 'a', null).then(({ deleted }) => `${deleted}`)))
    await third.roundTrip()
    await peer.roundTrip()
    const early = [...told, reading.ended?.code]
    commit()
    await Promise.all(answers)
    expect(early).toEqual([undefined])
    expect(told.sort()).toEqual(['GONE', 'GONE', 'GONE', 'deleted', 'false'])
    await peer.until(() => reading.ended?.code === 'GONE')
  })

  test('and when it cannot be stored, nobody ever is', async () => {
    const { store, peer, other } = await scene()
    store.break()
    const [deleted, late] = peer.together(() => [
      codeOf(peer.ask(UP.delete, 'a', null)),
      codeOf(peer.append({ sequence: 3 }, message('late'))),
    ])
    expect([await deleted, await late]).toEqual(['STORE_UNAVAILABLE', 'STORE_UNAVAILABLE'])
    expect(await codeOf(other.append({ sequence: 0 }, message('later')))).toBe('STORE_UNAVAILABLE')
  })
})

describe('a publisher that outruns the store', () => {
  test('is paused, while others are served, and loses nothing', async () => {
    const { store, peer, other } = await scene()
    const open = store.holdJournal()
    const large = message('x'.repeat(200_000))
    const bases = Array.from({ length: 100 }, (_, i) => peer.append({ sequence: 3 + i }, large))
    let isAnswered = false
    const behind = peer.roundTrip().then(() => {
      isAnswered = true
    })
    for (let i = 0; i < 50; i++) await other.roundTrip()
    expect(isAnswered).toBe(false)
    open()
    expect(await Promise.all(bases)).toEqual(Array.from({ length: 100 }, (_, i) => 3 + i))
    await behind
  })
})

describe('a store that cannot write any more', () => {
  test('acknowledges nothing, says so to each who waits, and readers go on', async () => {
    const { broker, store, peer, other } = await scene()
    const reading = await other.read({ start: true })
    await other.until(() => reading.position === 3)
    store.break()
    const codes = peer.together(() => [
      codeOf(peer.append({ sequence: 3 }, message('lost'))),
      codeOf(peer.ask(UP.openStream, 0, 0, 4, 's', 'create')),
      codeOf(peer.ask(UP.stop, 0, 'ended', {})),
      codeOf(peer.attach('new', { producer: 'p' }, 1)),
      codeOf(peer.append({ handle: 1, sequence: 0 }, message('lost'))),
    ])
    expect(await Promise.all(codes)).toEqual(Array(5).fill('STORE_UNAVAILABLE'))
    expect(await codeOf(peer.append({ sequence: 3 }, message('lost')))).toBe('STORE_UNAVAILABLE')
    expect(await codeOf(peer.ask(UP.delete, 'a', null))).toBe('STORE_UNAVAILABLE')
    const again = await other.read({ start: true })
    await other.until(() => again.position === 3)
    expect(reading.position).toBe(3)
    expect(broker.log.join()).toContain('the disk is full')
  })

  test('is found as it was when it is opened anew', async () => {
    const disk = new MemoryDisk()
    const store = await HeldStore.open(disk)
    const broker = await TestBroker.start({ store })
    const peer = await broker.peer()
    await peer.attach('a', { producer: 'p' })
    await peer.append({ sequence: 0 }, message('kept'))
    store.break()
    expect(await codeOf(peer.append({ sequence: 1 }, message('lost')))).toBe('STORE_UNAVAILABLE')
    await broker.broker.close()
    const next = await TestBroker.start({}, disk)
    const back = await next.peer()
    expect(await back.attach('a', { producer: 'p' })).toMatchObject({ nextOffset: 1, producer: { sequence: 0 } })
    expect(await back.append({ sequence: 1 }, message('sent again'))).toBe(1)
  })
})
