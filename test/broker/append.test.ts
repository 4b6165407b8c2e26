/** Appending exactly once: sequences, producers and record ids, over reconnects, restarts and kills. */

import { describe, expect, test } from 'vitest'
import { LIMITS, UP } from '../../protocol/index.ts'
import { checkpoint, context, json, message, TestBroker, tempDir, text, token } from './brokers.ts'
import { codeOf, type Fill, type Peer, refusalOf } from './peer.ts'

const HOUR_MS = 3_600_000

async function writer(broker: TestBroker, producer = 'p', name = 'a'): Promise<Peer> {
  const peer = await broker.peer()
  await peer.attach(name, { producer })
  return peer
}

async function messagesOf(broker: TestBroker, name = 'a'): Promise<string[]> {
  const peer = await broker.peer()
  const { nextOffset } = await peer.attach(name, { observe: true })
  const reading = await peer.read({ start: true })
  await peer.until(() => reading.position === nextOffset)
  return reading.messages
}

describe('sequences', () => {
  test('an append is acknowledged with the offset of its first record', async () => {
    const peer = await writer(await TestBroker.start())
    expect(await peer.append({ sequence: 0 }, message('a'), message('b'))).toBe(0)
    expect(await peer.append({ sequence: 1 }, message('c'))).toBe(2)
  })

  test('a repeat of one of the last eight is acknowledged again and stores nothing', async () => {
    const broker = await TestBroker.start()
    const peer = await writer(broker)
    for (let sequence = 0; sequence < 9; sequence++) await peer.append({ sequence }, message(`m${sequence}`))
    expect(await peer.append({ sequence: 1 }, message('m1'))).toBe(1)
    expect(await peer.append({ sequence: 8 }, message('m8'))).toBe(8)
    expect(await codeOf(peer.append({ sequence: 0 }, message('m0')))).toBe('SEQUENCE_GAP')
    expect(await messagesOf(broker)).toHaveLength(9)
  })

  test('a repeat that comes before the original is durable is acknowledged behind it', async () => {
    const broker = await TestBroker.start()
    const peer = await writer(broker)
    const bases = peer.together(() => [0, 0, 1, 0].map((sequence) => peer.append({ sequence }, message(`${sequence}`))))
    expect(await Promise.all(bases)).toEqual([0, 0, 1, 0])
    expect(await messagesOf(broker)).toHaveLength(2)
  })

  test('what is not next is SEQUENCE_GAP, and after a refusal so is all behind it', async () => {
    const peer = await writer(await TestBroker.start())
    expect(await peer.append({ sequence: 0 }, message('a'))).toBe(0)
    const gap = await refusalOf(peer.append({ sequence: 2 }, message('c')))
    expect([gap.code, gap.details.expected]).toEqual(['SEQUENCE_GAP', 1])
    const codes = peer.together(() => [
      codeOf(peer.append({ sequence: 1 }, token('s', 'x'))),
      codeOf(peer.append({ sequence: 2 }, message('c'))),
      codeOf(peer.append({ sequence: 1 }, message('b'))),
      codeOf(peer.append({ sequence: 2 }, message('c'))),
    ])
    expect(await Promise.all(codes)).toEqual(['STREAM_UNKNOWN', 'SEQUENCE_GAP', 'ok', 'ok'])
  })

  test('an unknown producer that is not at its beginning is PRODUCER_UNKNOWN', async () => {
    const peer = await writer(await TestBroker.start())
    expect(await codeOf(peer.append({ sequence: 3 }, message('a')))).toBe('PRODUCER_UNKNOWN')
    expect(await peer.append({ sequence: 0 }, message('a'))).toBe(0)
  })

  test('a new producer epoch begins at 0 and makes the former one PRODUCER_STALE', async () => {
    const peer = await writer(await TestBroker.start())
    await peer.append({ sequence: 0 }, message('a'))
    expect(await codeOf(peer.append({ epoch: 1, sequence: 1 }, message('b')))).toBe('SEQUENCE_GAP')
    expect(await peer.append({ epoch: 1, sequence: 0 }, message('b'))).toBe(1)
    const stale = await refusalOf(peer.append({ epoch: 0, sequence: 1 }, message('c')))
    expect([stale.code, stale.details.producerEpoch]).toEqual(['PRODUCER_STALE', 1])
  })

  for (const kind of ['memory', 'LevelDB']) {
    test(`repeats are known after a reconnect, a restart and a kill, with the ${kind} store`, async () => {
      let broker = await TestBroker.start(kind === 'memory' ? {} : { dataDir: await tempDir() })
      let peer = await writer(broker)
      for (let sequence = 0; sequence < 3; sequence++) await peer.append({ sequence }, message(`m${sequence}`))
      const again = async (): Promise<void> => {
        expect(await Promise.all([1, 2].map((sequence) => peer.append({ sequence }, message('x'))))).toEqual([1, 2])
      }
      await broker.drop(peer)
      peer = await writer(broker)
      await again()
      broker = await broker.restart()
      peer = await writer(broker)
      await again()
      expect(await peer.append({ sequence: 3 }, message('m3'))).toBe(3)
      broker = await broker.kill()
      peer = await broker.peer()
      expect((await peer.attach('a', { producer: 'p' })).producer).toEqual({ producerEpoch: 0, sequence: 3 })
      await again()
      expect(await peer.append({ sequence: 4 }, message('m4'))).toBe(4)
      broker = await broker.kill()
      expect(await messagesOf(broker)).toEqual([0, 1, 2, 3, 4].map((i) => `text:m${i}`))
    })
  }

  test('the 65th producer is PRODUCER_LIMIT until one was unused for an hour and writes no open stream', async () => {
    const broker = await TestBroker.start({ lingerMs: 'forever' })
    const peer = await broker.peer()
    for (let i = 0; i < LIMITS.producersPerTopic; i++) {
      await peer.attach('a', { producer: `p${i}` }, i)
      if (i === 0) await peer.ask(UP.openStream, 0, 0, 0, 's', 'create')
      else await peer.append({ handle: i, sequence: 0 }, message(`m${i}`))
    }
    await peer.attach('a', { producer: 'late' }, 64)
    const limited = await refusalOf(peer.append({ handle: 64, sequence: 0 }, message('late')))
    expect([limited.code, limited.details.bound]).toEqual(['PRODUCER_LIMIT', 64])
    await broker.clock.advance(HOUR_MS / 2)
    for (let i = 2; i < LIMITS.producersPerTopic; i++) await peer.append({ handle: i, sequence: 1 }, message('again'))
    await broker.clock.advance(HOUR_MS / 2 + 1)
    expect(await codeOf(peer.append({ handle: 64, sequence: 0 }, message('late')))).toBe('ok')
    expect(await codeOf(peer.append({ handle: 1, sequence: 1 }, message('forgotten')))).toBe('PRODUCER_UNKNOWN')
    expect(await codeOf(peer.append({ handle: 1, sequence: 0 }, message('anew')))).toBe('PRODUCER_LIMIT')
    expect(await codeOf(peer.append({ handle: 0, sequence: 1 }, message('has a stream')))).toBe('ok')
  })

  test('a producer whose handle was detached makes room at once, but not while its stream is open', async () => {
    const peer = await (await TestBroker.start()).peer()
    for (let i = 0; i < LIMITS.producersPerTopic; i++) {
      await peer.attach('a', { producer: `p${i}` }, i)
      if (i === 1) await peer.ask(UP.openStream, i, 0, 0, 's', 'create')
      else await peer.append({ handle: i, sequence: 0 }, message(`m${i}`))
    }
    await peer.ask(UP.detach, 0)
    await peer.ask(UP.detach, 1)
    await peer.attach('a', { producer: 'next' }, 100)
    expect(await codeOf(peer.append({ handle: 100, sequence: 0 }, message('next')))).toBe('ok')
    await peer.attach('a', { producer: 'late' }, 101)
    expect(await codeOf(peer.append({ handle: 101, sequence: 0 }, message('writes a stream')))).toBe('PRODUCER_LIMIT')
    await peer.attach('a', { producer: 'p0' }, 102)
    expect(await codeOf(peer.append({ handle: 102, sequence: 1 }, message('forgotten')))).toBe('PRODUCER_UNKNOWN')
  })
})

describe('record ids', () => {
  test('are stored once, whichever producer sends them', async () => {
    const broker = await TestBroker.start()
    const [one, two] = [await writer(broker, 'one'), await writer(broker, 'two')]
    await one.append({ sequence: 0 }, message('first'))
    expect(await one.append({ sequence: 1 }, message('hi', 'm1'))).toBe(1)
    expect(await two.append({ sequence: 0 }, message('hi', 'm1'))).toBe(1)
    expect(await two.append({ sequence: 1 }, message('more'))).toBe(2)
    expect(await two.append({ sequence: 0 }, message('hi', 'm1'))).toBe(1)
    expect(await messagesOf(broker)).toEqual(['text:first', 'text:hi', 'text:more'])
  })

  test('are known after a restart, a kill, and after the table has them', async () => {
    let broker = await TestBroker.start({ residencyIdleMs: 100 })
    let peer = await writer(broker)
    await peer.append({ sequence: 0 }, message('hi', 'm1'))
    const again = async (producer: string): Promise<void> => {
      peer = await writer(broker, producer)
      expect(await peer.append({ sequence: 0 }, message('hi', 'm1'))).toBe(0)
    }
    await broker.drop(peer)
    await broker.dormant()
    await again('dormant')
    broker = await broker.kill()
    await again('killed')
    broker = await broker.restart()
    await again('restarted')
    expect(await messagesOf(broker)).toEqual(['text:hi'])
  })

  test('appends behind one whose id is looked up in the table keep their order', async () => {
    const broker = await TestBroker.start({ residencyIdleMs: 100 })
    let peer = await writer(broker)
    await peer.append({ sequence: 0 }, message('hi', 'm1'))
    await broker.drop(peer)
    await broker.dormant()
    peer = await writer(broker)
    const bases = peer.together(() => [
      peer.append({ sequence: 1 }, message('hi', 'm1')),
      peer.append({ sequence: 2 }, message('two')),
      peer.append({ sequence: 3 }, message('three', 'm3')),
      peer.append({ sequence: 4 }, message('four')),
    ])
    expect(await Promise.all(bases)).toEqual([0, 1, 2, 3])
  })

  test('of records that were trimmed can be used again', async () => {
    const broker = await TestBroker.start({ residencyIdleMs: 100 })
    let peer = await writer(broker)
    await peer.append({ sequence: 0 }, message('hi', 'm1'))
    await peer.append({ sequence: 1 }, message('more'))
    await peer.ask(UP.trim, 0, 0, 2, { before: 1 })
    expect(await peer.append({ sequence: 3 }, message('hi again', 'm1'))).toBe(2)
    expect(await peer.append({ sequence: 4 }, message('hi again', 'm1'))).toBe(2)
    await broker.drop(peer)
    await broker.dormant()
    peer = await writer(broker)
    expect(await peer.append({ sequence: 5 }, message('hi again', 'm1'))).toBe(2)
  })

  test('make a repeat a repeat also when its stream has ended since', async () => {
    const broker = await TestBroker.start()
    const peer = await writer(broker)
    const { fence } = await peer.ask(UP.openStream, 0, 0, 0, 's', 'create')
    const both = [message('tool result', 'call-1'), token('s', 'x')]
    expect(await peer.append({ sequence: 1, fence: fence ?? -1 }, ...both)).toBe(1)
    await peer.ask(UP.stop, 0, 's', {})
    const second = await writer(broker, 'q')
    expect(await second.append({ sequence: 0, fence: fence ?? -1 }, ...both)).toBe(1)
  })

  test('stand on the first record of an append only', async () => {
    const peer = await writer(await TestBroker.start())
    const late = peer.append({ sequence: 0 }, message('a'), message('b', 'm1'))
    expect(await codeOf(late)).toBe('BAD_REQUEST')
    expect(await peer.append({ sequence: 0 }, message('a', 'm1'), message('b'))).toBe(0)
    expect(await peer.append({ sequence: 1 }, message('a', 'm1'), message('b'))).toBe(0)
  })
})

describe('what cannot be stored is refused by itself', () => {
  const records = {
    BAD_VALUE: [message(''), token('s', { tag: 'json', value: '{"half":' })],
  }

  test('bad data is BAD_VALUE, and the append may be sent again with better', async () => {
    const peer = await writer(await TestBroker.start())
    expect(await codeOf(peer.append({ sequence: 0 }, ...records.BAD_VALUE))).toBe('BAD_VALUE')
    const notUtf8: Fill = (out) => out.raw(Uint8Array.of(3, 1, 0xff, 0xfe))
    expect(await codeOf(peer.append({ sequence: 0 }, notUtf8))).toBe('BAD_VALUE')
    expect(await codeOf(peer.append({ sequence: 0 }, context('set', 'bad\u0001name')))).toBe('BAD_NAME')
    expect(await codeOf(peer.append({ sequence: 0 }, checkpoint('c', text('ok')), context('set', 'n', json(1))))).toBe(
      'ok',
    )
  })

  test('one too large is LIMIT_EXCEEDED, and its neighbours in the same frame are applied', async () => {
    const broker = await TestBroker.start()
    const peer = await writer(broker)
    const large = message('x'.repeat(LIMITS.appendBytes))
    const many = Array(LIMITS.appendRecords + 1).fill(message(''))
    const answers = peer.together(() => [
      peer.append({ sequence: 0 }, message('a')),
      codeOf(peer.append({ sequence: 1 }, large)),
      codeOf(peer.append({ sequence: 1 }, ...many)),
      peer.append({ sequence: 1 }, message('b')),
      peer.ask(UP.describe, 'a').then(({ name }) => name),
    ])
    expect(await Promise.all(answers)).toEqual([0, 'LIMIT_EXCEEDED', 'LIMIT_EXCEEDED', 1, 'a'])
  })
})
