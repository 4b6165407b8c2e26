/** A broker that stops: what is new is refused, what is under way is answered, and clients are told when to come back. */

import { describe, expect, test } from 'vitest'
import { LIMITS, UP } from '../../protocol/index.ts'
import { MemoryDisk } from '../../storage/index.ts'
import { message, TestBroker } from './brokers.ts'
import { HeldStore } from './held-store.ts'
import { codeOf, refusalOf } from './peer.ts'
import { eventually, turn } from './virtual-clock.ts'

async function held(disk = new MemoryDisk()): Promise<{ store: HeldStore; broker: TestBroker }> {
  const store = await HeldStore.open(disk)
  return { store, broker: await TestBroker.start({ store }) }
}

describe('stopping', () => {
  test('refuses what is new with the delay, and acknowledges what was taken before', async () => {
    const disk = new MemoryDisk()
    const { store, broker } = await held(disk)
    const peer = await broker.peer()
    await peer.attach('a', { producer: 'p' })
    await peer.attach('c', { producer: 'p', exclusive: true }, 2)
    const commit = store.holdJournal()
    const taken = peer.append({ sequence: 0 }, message('taken'))
    await peer.roundTrip()
    const closed = broker.broker.close()
    await peer.until(() => peer.goaway !== null)
    const delay = { minDelayMs: LIMITS.goawayMinMs, maxDelayMs: LIMITS.goawayMinMs + LIMITS.goawayMsPerConnection }
    expect(peer.goaway).toMatchObject(delay)
    const refused = [
      peer.append({ sequence: 1 }, message('new')),
      peer.append({ sequence: 2 }, message('newer')),
      peer.attach('b', {}, 1),
      peer.ask(UP.openStream, 0, 0, 1, 's', 'create'),
      peer.ask(UP.stop, 0, null, {}),
      peer.ask(UP.list, '', {}),
    ]
    for (const request of refused) {
      expect(await refusalOf(request)).toMatchObject({ code: 'SHUTTING_DOWN', details: delay })
    }
    // What ends something is still done; it is durable before the broker is gone.
    const unsubscribed = peer.ask(UP.unsubscribe, 1)
    const detached = peer.ask(UP.detach, 2)
    await unsubscribed
    await peer.roundTrip()
    commit()
    expect(await taken).toBe(0)
    expect(await detached).toEqual({})
    await closed
    await peer.until(() => peer.closeCode !== null)
    expect([peer.closeCode, peer.errors]).toEqual([1001, []])
    const next = await (await TestBroker.start({}, disk)).peer()
    expect(await next.ask(UP.describe, 'a')).toMatchObject({ nextOffset: 1 })
    expect(await next.ask(UP.describe, 'c')).toMatchObject({ exclusive: false })
    expect(await codeOf(next.ask(UP.describe, 'b'))).toBe('NOT_FOUND')
  })

  test('answers a request that waits for the table', async () => {
    const { store, broker } = await held()
    const peer = await broker.peer()
    store.hold()
    const listed = peer.ask(UP.list, '', {})
    await eventually(() => store.waiting > 0)
    const closed = broker.broker.close()
    await peer.until(() => peer.goaway !== null)
    for (let turns = 0; turns < 20; turns++) await turn()
    expect(peer.closeCode).toBe(null)
    store.release()
    expect(await listed).toEqual({ topics: [], more: false })
    await closed
  })

  test('does not wait for longer than stopMs, nor for a socket that is not closed', async () => {
    const { store, broker } = await held()
    const [peer, deaf] = [await broker.peer(), await broker.peer()]
    deaf.socket.pause()
    store.hold()
    const listed = peer.ask(UP.list, '', {})
    await eventually(() => store.waiting > 0)
    let isClosed = false
    const closed = broker.broker.close().then(() => {
      isClosed = true
    })
    await peer.until(() => peer.goaway !== null)
    await broker.clock.advance(LIMITS.stopMs - 1)
    expect(peer.closeCode).toBe(null)
    await broker.clock.advance(1)
    expect(await codeOf(listed)).toBe('CLOSED_SOCKET')
    await eventually(() => broker.broker.stats().connections === 1)
    expect(isClosed).toBe(false)
    await broker.clock.advance(LIMITS.stopSocketMs)
    store.release()
    await closed
  })

  test('refuses a client that has not said hello yet', async () => {
    const { store, broker } = await held()
    const [late, busy] = [await broker.peer({ hello: false }), await broker.peer()]
    store.hold()
    const listed = busy.ask(UP.list, '', {})
    await eventually(() => store.waiting > 0)
    const closed = broker.broker.close()
    await busy.until(() => busy.goaway !== null)
    late.send([UP.hello, 1, {}])
    await late.until(() => late.errors.length > 0)
    expect([late.errors[0]?.code, late.goaway, late.welcome]).toEqual(['SHUTTING_DOWN', null, null])
    store.release()
    await listed
    await closed
  })

  test('spreads the return of clients over a range that grows with their number', async () => {
    const broker = await TestBroker.start()
    const peers = await Promise.all(Array.from({ length: 40 }, () => broker.peer()))
    await broker.broker.close()
    const [first] = peers
    await first?.until(() => first.closeCode !== null)
    const { goawayMinMs, goawayMsPerConnection } = LIMITS
    const maxDelayMs = goawayMinMs + 40 * goawayMsPerConnection
    expect(first?.goaway).toMatchObject({ minDelayMs: goawayMinMs, maxDelayMs })
  })
})
