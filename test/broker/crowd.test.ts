/** Crowds: topics with many readers, who are served a few at a time. */

import { describe, expect, test } from 'vitest'
import { Block, Crowd, type CrowdReader, Crowds } from '../../broker/crowd.ts'
import { encodeShared } from '../../broker/ws/shared.ts'
import { LitetopicError, UP } from '../../protocol/index.ts'
import { message, TestBroker } from './brokers.ts'
import type { Peer } from './peer.ts'
import type { Reading } from './reading.ts'
import { turn } from './virtual-clock.ts'

/** More than make a crowd, and more than are served in one turn. */
const MANY = 150

/** What the readers were served, in order: which crowd's reader, and up to which offset. */
function crowdsOf(sizes: readonly number[]) {
  const served: { crowd: number; reader: number; next: number }[] = []
  const errors: LitetopicError[] = []
  const crowds = new Crowds(
    () => new Uint8Array(1024),
    (error) => errors.push(error),
  )
  const made = sizes.map((size, crowd) => {
    const readers = Array.from({ length: size }, (_, reader): CrowdReader => {
      return { serve: ({ next }) => void served.push({ crowd, reader, next }) }
    })
    return { crowd: new Crowd(crowds, readers), readers }
  })
  return { served, errors, made }
}

describe('the readers of a crowd are served', () => {
  test('a bounded number of them in one turn of the loop, and nobody twice in a round', async () => {
    const { served, made } = crowdsOf([1000])
    made[0]?.crowd.offer(0, 10, 0, 1)
    expect(served).toHaveLength(0)
    for (let before = 0; before < 1000; before = served.length) {
      await turn()
      expect(served.length - before).toBeGreaterThan(0)
      expect(served.length - before).toBeLessThanOrEqual(128)
    }
    await turn()
    expect(new Set(served.map(({ reader }) => reader)).size).toBe(1000)
    expect(served).toHaveLength(1000)
  })

  test('in turn with those of other crowds, so that a small one does not wait for a large one', async () => {
    const { served, made } = crowdsOf([10_000, 65])
    for (const { crowd } of made) crowd.offer(0, 10, 0, 1)
    while (served.filter(({ crowd }) => crowd === 1).length < 65) await turn()
    expect(served.filter(({ crowd }) => crowd === 0).length).toBeLessThan(200)
  })

  test('with all that was committed meanwhile at once', async () => {
    const { served, made } = crowdsOf([1000])
    const crowd = made[0]?.crowd as Crowd
    for (let offset = 0; offset < 8; offset++) {
      crowd.offer(0, 10, offset, offset + 1)
      await turn()
    }
    while (crowd.waits) await turn()
    const own = served.filter(({ reader }) => reader === 7).map(({ next }) => next)
    expect(own).toEqual([1, 8])
  })

  test('whatever happens to one of them', async () => {
    const { served, errors, made } = crowdsOf([100])
    const { crowd, readers } = made[0] as { crowd: Crowd; readers: CrowdReader[] }
    readers[50] = {
      serve: () => {
        throw new LitetopicError('INTERNAL', 'a fault')
      },
    }
    crowd.offer(0, 10, 0, 1)
    while (crowd.waits) await turn()
    expect(errors.map(({ code }) => code)).toEqual(['INTERNAL'])
    expect(new Set(served.map(({ reader }) => reader)).size).toBe(99)
  })

  test('also while others leave, down to nobody', async () => {
    const { served, made } = crowdsOf([200])
    const { crowd, readers } = made[0] as { crowd: Crowd; readers: CrowdReader[] }
    crowd.offer(0, 10, 0, 1)
    await turn()
    readers.splice(0, 20)
    while (crowd.waits) await turn()
    expect(new Set(served.map(({ reader }) => reader)).size).toBe(180)
    crowd.offer(0, 10, 1, 2)
    readers.splice(0)
    for (let turns = 0; turns < 5; turns++) await turn()
    expect(crowd.waits).toBe(false)
  })
})

test('of the messages of a round few megabytes are kept, whatever numbers its readers have', () => {
  const block = new Block(0)
  block.add(new Uint8Array(100_000), 0, 100_000, 0, 1)
  expect(encodeShared(7, block)).toBe(encodeShared(7, block))
  for (let id = 0; id < 1000; id++) encodeShared(id, block)
  const kept = [...block.encoded.values()].reduce((sum, { bytes }) => sum + bytes.length, 0)
  expect(kept).toBeLessThan(5_000_000)
  expect(encodeShared(999, block).bytes.length).toBe(encodeShared(7, block).bytes.length + 1)
})

async function subscribed(broker: TestBroker, ids: number, options = {}): Promise<{ peer: Peer; readings: Reading[] }> {
  const peer = await broker.peer()
  await peer.attach('crowded')
  const starting = Array.from({ length: ids }, (_, id) => peer.read({ start: true }, { id, raw: true, ...options }))
  return { peer, readings: await Promise.all(starting) }
}

describe('a crowd gets every record once and in order', () => {
  test('on shared and on own connections, while readers come, go and lag', async () => {
    const broker = await TestBroker.start()
    const writer = await broker.peer()
    await writer.attach('crowded', { producer: 'p' })
    const shared = await subscribed(broker, MANY)
    const own = await Promise.all(Array.from({ length: 10 }, () => subscribed(broker, 1)))
    // Credit for about one record at a time: they read for themselves whenever it comes.
    const poor = await subscribed(broker, 5, { creditBytes: 30 })
    const leaver = await subscribed(broker, 5)
    const late: { peer: Peer; readings: Reading[] }[] = []
    const written: string[] = []
    let acked = Promise.resolve(0)
    for (let sequence = 0; sequence < 60; sequence++) {
      // Of each length that a WebSocket frame tells in another way.
      const text = `${sequence}${'x'.repeat([1, 300, 70_000][sequence % 3] as number)}`
      written.push(`text:${text}`)
      acked = writer.append({ sequence }, message(text))
      if (sequence % 8 === 7) await acked
      if (sequence === 20) for (let id = 0; id < 5; id++) await leaver.peer.ask(UP.unsubscribe, id)
      if (sequence === 30) late.push(await subscribed(broker, 3))
    }
    await acked
    for (const { peer, readings } of [shared, poor, ...own, ...late]) {
      await peer.until(() => readings.every(({ position }) => position === 60))
      for (const reading of readings) expect(reading.messages).toEqual(written)
    }
    // Who has caught up is in the crowd again.
    await writer.append({ sequence: 60 }, message('one more'))
    await shared.peer.until(() => shared.readings.every(({ position }) => position === 61))
    expect(shared.readings.some(({ batches }) => batches.at(-1)?.live)).toBe(true)
    expect(leaver.readings[0]?.messages).toEqual(written.slice(0, leaver.readings[0]?.position))
  })

  test('in few messages when they share a connection', async () => {
    const broker = await TestBroker.start()
    const writer = await broker.peer()
    await writer.attach('crowded', { producer: 'p' })
    const { peer, readings } = await subscribed(broker, MANY)
    let messages = 0
    peer.socket.on('message', () => messages++)
    await writer.append({ sequence: 0 }, message('to all of them'))
    await peer.until(() => readings.every(({ position }) => position === 1))
    // Two for each turn that serves some of them.
    expect(messages).toBeLessThanOrEqual(6)
  })

  test('and nobody more than its credit and one batch, however much a round holds', async () => {
    const broker = await TestBroker.start()
    const writer = await broker.peer()
    await writer.attach('crowded', { producer: 'p' })
    const { peer, readings } = await subscribed(broker, MANY, { creditBytes: 60, regrant: false })
    const append = (sequence: number) => writer.append({ sequence }, message(`message ${sequence}`))
    await Promise.all(writer.together(() => Array.from({ length: 10 }, (_, sequence) => append(sequence))))
    // Time for all rounds that there may be.
    for (let turns = 0; turns < 50; turns++) await turn()
    await peer.roundTrip()
    for (const { batches } of readings) {
      const allButLast = batches.slice(0, -1).reduce((sum, { bytes }) => sum + bytes, 0)
      expect(allButLast).toBeLessThan(60)
      expect(batches.length).toBeGreaterThan(1)
    }
    for (const { id } of readings) peer.send([UP.credit, id, 1_000])
    await peer.until(() => readings.every(({ position }) => position === 10))
  })

  test('and of what a block has no room for, from where it stands', async () => {
    const broker = await TestBroker.start()
    const writer = await broker.peer()
    await writer.attach('crowded', { producer: 'p' })
    const { peer, readings } = await subscribed(broker, MANY, { creditBytes: 64 * 1024 * 1024 })
    const texts = Array.from({ length: 8 }, (_, i) => `${i}${'y'.repeat(100_000)}`)
    await Promise.all(writer.together(() => texts.map((text, sequence) => writer.append({ sequence }, message(text)))))
    await peer.until(() => readings.every(({ position }) => position === 8))
    for (const reading of readings) expect(reading.messages).toEqual(texts.map((text) => `text:${text}`))
  }, 60_000)

  test('also when so many leave that it is no crowd any more', async () => {
    const broker = await TestBroker.start()
    const writer = await broker.peer()
    await writer.attach('crowded', { producer: 'p' })
    const stay = await subscribed(broker, 10)
    const leave = await subscribed(broker, MANY)
    await Promise.all([writer.append({ sequence: 0 }, message('a')), broker.drop(leave.peer)])
    for (let sequence = 1; sequence < 5; sequence++) await writer.append({ sequence }, message(`${sequence}`))
    await stay.peer.until(() => stay.readings.every(({ position }) => position === 5))
  })
})
