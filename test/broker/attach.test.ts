/** Attaching: who creates, who does not, what is answered, and frames that do not wait for the answer. */

import { describe, expect, test } from 'vitest'
import { parseCursor, UP } from '../../protocol/index.ts'
import { message, TestBroker } from './brokers.ts'
import { HeldStore } from './held-store.ts'
import { codeOf, refusalOf } from './peer.ts'

const policy = { lingerMs: 5000 }

describe('attaching', () => {
  test('creates the topic by its first use, and finds it from then on', async () => {
    const broker = await TestBroker.start()
    const peer = await broker.peer()
    const first = await peer.attach('support/ticket-42', { producer: 'p', policy })
    expect(first).toMatchObject({ created: true, firstOffset: 0, nextOffset: 0, lingerMs: 5000, producer: null })
    expect(parseCursor(first.cursor)).toEqual({
      incarnation: peer.welcome?.incarnation,
      epoch: first.epoch,
      next: 0,
    })
    await peer.append({ sequence: 0 }, message('hi'))
    const second = await (await broker.peer()).attach('support/ticket-42', { producer: 'p', policy: { lingerMs: 1 } })
    const known = { producerEpoch: 0, sequence: 0 }
    expect(second).toMatchObject({ created: false, epoch: first.epoch, nextOffset: 1, lingerMs: 5000, producer: known })
  })

  test('with create: false, with an epoch or as an observer never creates', async () => {
    const broker = await TestBroker.start()
    const peer = await broker.peer()
    expect(await codeOf(peer.attach('a', { create: false }))).toBe('NOT_FOUND')
    expect(await codeOf(peer.attach('a', { observe: true }))).toBe('NOT_FOUND')
    const gone = await refusalOf(peer.attach('a', { epoch: 4096 }))
    expect([gone.code, gone.details.outcome]).toEqual(['GONE', 'gone'])
    expect((await peer.ask(UP.list, '', {})).topics).toEqual([])
  })

  test('with the epoch of another incarnation is RECREATED, and says which one there is', async () => {
    const broker = await TestBroker.start()
    const peer = await broker.peer()
    const { epoch } = await peer.attach('a', {})
    await peer.ask(UP.delete, 'a', null)
    const anew = await peer.attach('a', {}, 1)
    expect(anew.created).toBe(true)
    expect(anew.epoch).toBeGreaterThan(epoch)
    const refused = await refusalOf(peer.attach('a', { epoch }, 2))
    expect([refused.code, refused.details.epoch]).toEqual(['RECREATED', anew.epoch])
    expect((await peer.attach('a', { epoch: anew.epoch }, 3)).created).toBe(false)
  })

  test('as an observer allows reading and no writing, and does not hold the topic', async () => {
    const broker = await TestBroker.start()
    const [writer, observer] = [await broker.peer(), await broker.peer()]
    await writer.attach('a', { producer: 'p', policy })
    await writer.append({ sequence: 0 }, message('hi'))
    await observer.attach('a', { observe: true, producer: 'q' })
    const reading = await observer.read({ start: true })
    await observer.until(() => reading.position === 1)
    expect(await codeOf(observer.append({ sequence: 0 }, message('no')))).toBe('BAD_REQUEST')
    await broker.drop(writer)
    await broker.clock.advance(5100)
    await observer.notice('reclaimed')
    expect(reading.ended?.code).toBe('GONE')
  })

  test('without a producer allows no appends', async () => {
    const peer = await (await TestBroker.start()).peer()
    await peer.attach('a')
    expect(await codeOf(peer.append({ sequence: 0 }, message('no')))).toBe('BAD_REQUEST')
  })

  test('two clients that attach at the same moment share one new topic', async () => {
    const broker = await TestBroker.start()
    const peers = [await broker.peer(), await broker.peer(), await broker.peer()]
    const replies = await Promise.all(peers.map((peer) => peer.attach('a')))
    expect(new Set(replies.map(({ epoch }) => epoch)).size).toBe(1)
    expect(replies.filter(({ created }) => created)).toHaveLength(1)
  })

  test('is answered when the creation is durable, also to a second client: until then a crash may undo it', async () => {
    const store = await HeldStore.open()
    const broker = await TestBroker.start({ store })
    const [first, second] = [await broker.peer(), await broker.peer()]
    const commit = store.holdJournal()
    const answered: string[] = []
    const attached = [first, second].map((peer, i) => peer.attach('a').then(() => answered.push(`attach ${i}`)))
    await first.ask(UP.token, 'any')
    await second.ask(UP.token, 'any')
    await second.ask(UP.token, 'any')
    const early = [...answered]
    commit()
    await Promise.all(attached)
    expect(early).toEqual([])
  })
})

describe('frames behind an attach that is not answered yet', () => {
  test('are applied in order, whether the topic is new, resident or dormant', async () => {
    const broker = await TestBroker.start({ residencyIdleMs: 100 })
    for (const state of ['new', 'resident', 'dormant']) {
      if (state === 'dormant') await broker.dormant()
      const peer = await broker.peer()
      const { attached, appended, reading } = peer.together(() => ({
        attached: peer.attach('a', { producer: state }),
        appended: peer.append({ sequence: 0 }, message(state)),
        reading: peer.read({ start: true }),
      }))
      await Promise.all([attached, appended])
      const seen = await reading
      await peer.until(() => seen.messages.at(-1) === `text:${state}`)
      await peer.ask(UP.detach, 0)
      await broker.drop(peer)
    }
  })

  test('are refused with UNKNOWN_HANDLE if it fails', async () => {
    const peer = await (await TestBroker.start()).peer()
    const codes = peer.together(() => [
      codeOf(peer.attach('a', { create: false, producer: 'p' })),
      codeOf(peer.append({ sequence: 0 }, message('no'))),
      codeOf(peer.read({ start: true })),
      codeOf(peer.ask(UP.openStream, 0, 0, 1, 's', 'create')),
      codeOf(peer.ask(UP.detach, 0)),
    ])
    expect(await Promise.all(codes)).toEqual(['NOT_FOUND', ...Array(4).fill('UNKNOWN_HANDLE')])
    expect((await peer.attach('a', { producer: 'p' })).created).toBe(true)
    expect((await peer.read({ start: true }, { id: 0 })).start).toBe(0)
  })

  test('may detach it and attach another topic under its handle', async () => {
    const broker = await TestBroker.start({ residencyIdleMs: 100 })
    const first = await broker.peer()
    await first.attach('a', { producer: 'p' })
    await broker.drop(first)
    await broker.dormant()
    const peer = await broker.peer()
    const [, detached, attached, appended] = peer.together(() => [
      peer.attach('a', { producer: 'p' }),
      codeOf(peer.ask(UP.detach, 0)),
      peer.attach('b', { producer: 'p' }),
      peer.append({ sequence: 0 }, message('to b')),
    ])
    expect(await detached).toBe('ok')
    expect(await attached).toMatchObject({ created: true })
    expect(await appended).toBe(0)
    expect((await peer.ask(UP.describe, 'b')).nextOffset).toBe(1)
    expect((await peer.ask(UP.describe, 'a')).nextOffset).toBe(0)
  })

  test('may unsubscribe what has not begun, and grant credit to it', async () => {
    const broker = await TestBroker.start({ residencyIdleMs: 100 })
    const writer = await broker.peer()
    await writer.attach('a', { producer: 'p' })
    await writer.append({ sequence: 0 }, message('hi'))
    await broker.drop(writer)
    await broker.dormant()
    const peer = await broker.peer()
    const [, given, , second] = peer.together(() => [
      peer.attach('a'),
      peer.read({ start: true }, { id: 0 }),
      peer.ask(UP.unsubscribe, 0),
      peer.read({ start: true }, { id: 1, creditBytes: 0, regrant: false }),
      peer.send([UP.credit, 1, 1000]),
    ])
    const [over, reading] = await Promise.all([given, second])
    await peer.until(() => reading?.position === 1)
    await peer.roundTrip()
    expect(over?.position).toBe(0)
    expect((await peer.read({ start: true }, { id: 0 })).start).toBe(0)
  })
})

describe('handles', () => {
  test('in use are HANDLE_IN_USE, unknown ones UNKNOWN_HANDLE, and free again after detach', async () => {
    const peer = await (await TestBroker.start()).peer()
    await peer.attach('a')
    expect(await codeOf(peer.attach('b'))).toBe('HANDLE_IN_USE')
    expect(await codeOf(peer.ask(UP.detach, 7))).toBe('UNKNOWN_HANDLE')
    await peer.read({ start: true })
    expect(await codeOf(peer.ask(UP.subscribe, 0, 0, { start: true }, {}))).toBe('HANDLE_IN_USE')
    await peer.ask(UP.detach, 0)
    expect(await codeOf(peer.ask(UP.stream, 0, 's'))).toBe('UNKNOWN_HANDLE')
    expect((await peer.attach('b')).created).toBe(true)
    expect((await peer.read({ start: true }, { id: 0 })).start).toBe(0)
  })

  test('of a topic that was deleted answer GONE, and the name is free for another', async () => {
    const broker = await TestBroker.start()
    const [peer, other] = [await broker.peer(), await broker.peer()]
    await peer.attach('a', { producer: 'p' })
    const reading = await peer.read({ live: true })
    const { epoch } = await peer.ask(UP.describe, 'a')
    expect(await codeOf(other.ask(UP.delete, 'a', epoch + 1))).toBe('RECREATED')
    expect(await other.ask(UP.delete, 'a', epoch)).toEqual({ deleted: true })
    expect(await other.ask(UP.delete, 'a', null)).toEqual({ deleted: false })
    await peer.notice('deleted')
    expect(reading.ended?.code).toBe('GONE')
    expect(await codeOf(peer.append({ sequence: 0 }, message('no')))).toBe('GONE')
    expect(await codeOf(peer.ask(UP.stop, 0, null, {}))).toBe('GONE')
    expect(await codeOf(peer.ask(UP.resume, 0, { checkpoint: null }))).toBe('GONE')
    expect((await other.attach('a')).created).toBe(true)
    expect(await codeOf(peer.append({ sequence: 0 }, message('no')))).toBe('GONE')
  })

  test('a dormant topic that is deleted and attached in one message is made anew', async () => {
    const broker = await TestBroker.start({ residencyIdleMs: 100 })
    const first = await broker.peer()
    const { epoch } = await first.attach('a', { producer: 'p' })
    await broker.drop(first)
    await broker.dormant()
    const peer = await broker.peer()
    const [deleted, attached, appended] = peer.together(() => [
      peer.ask(UP.delete, 'a', null),
      peer.attach('a', { producer: 'p' }),
      peer.append({ sequence: 0 }, message('new')),
    ])
    expect(await deleted).toEqual({ deleted: true })
    expect(await attached).toMatchObject({ created: true })
    expect(((await attached) as { epoch: number }).epoch).toBeGreaterThan(epoch)
    expect(await appended).toBe(0)
  })
})
