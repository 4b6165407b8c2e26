/** The disk fails beneath a whole broker: nothing is acknowledged that is not stored, reading goes on, and it heals by itself. */

import { describe, expect, test } from 'vitest'
import {
  type AppendProgress,
  type Broker as Client,
  connect,
  type LargeMessageRecord,
  type SessionRecord,
  type Value,
} from '../../client/index.ts'
import { LIMITS, LitetopicError, UP } from '../../protocol/index.ts'
import { MemoryDisk } from '../../storage/index.ts'
import { INDEX } from '../../storage/store.ts'
import { VirtualClock as ClientClock } from '../client/virtual-clock.ts'
import { afterwards, message, TestBroker, tempDir } from './brokers.ts'
import { type Failure, FaultyDisk } from './faulty-store.ts'
import { HeldStore } from './held-store.ts'
import { contentOf } from './large.ts'
import { codeOf } from './peer.ts'
import { eventually, turn } from './virtual-clock.ts'

interface Scene {
  readonly disk: FaultyDisk
  readonly broker: TestBroker
  readonly client: Client
  /** Moves the time of both on, a tenth of a second at a time, until the condition holds. */
  pass(condition: () => boolean): Promise<void>
  passMs(ms: number): Promise<void>
}

async function scene(): Promise<Scene> {
  const disk = new FaultyDisk(await tempDir())
  const broker = await TestBroker.start({ store: disk.open })
  const clock = new ClientClock()
  const client = connect(broker.broker.url, { clock })
  afterwards(() => {
    disk.mend()
    const closed = client.close()
    clock.advance(60_000)
    return closed.catch(() => undefined)
  })
  const step = async (): Promise<void> => {
    await broker.clock.advance(100)
    clock.advance(100)
    for (let turns = 0; turns < 100; turns++) await turn()
  }
  const pass = async (condition: () => boolean): Promise<void> => {
    for (let turns = 0; turns < 100 && !condition(); turns++) await turn()
    while (!condition()) await step()
  }
  const passMs = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 100) await step()
  }
  return { disk, broker, client, pass, passMs }
}

/** Reads the session's records for as long as there are some, into a list. */
function follow(records: AsyncIterable<SessionRecord>): SessionRecord[] {
  const seen: SessionRecord[] = []
  const reading = (async () => {
    for await (const record of records) seen.push(record)
  })()
  reading.catch(() => undefined) // the client is closed behind the test
  return seen
}

const value = (i: number): string => `${i} ${'x'.repeat(10_000)}`
const values = (records: readonly SessionRecord[]): unknown[] =>
  records.map((record) => (record.kind === 'message' ? record.value : record.kind))

describe('a write fails', () => {
  const cases: ['journal' | 'table', Failure][] = [
    ['journal', 'before'],
    ['journal', 'after'],
    ['table', 'before'],
    ['table', 'after'],
  ]
  test.each(cases)(
    'in the %s, %s it is stored: every record is stored once, at the offset told',
    async (part, failure) => {
      const { disk, broker, client, pass, passMs } = await scene()
      const session = await client.session('a')
      const live = follow(session.records({ raw: true }))
      const acked = new Map<number, number>()
      const append = (i: number): void => void session.append(value(i)).then(({ offset }) => acked.set(offset, i))
      for (let i = 0; i < 5; i++) append(i)
      await pass(() => acked.size === 5)

      disk.fail(part, failure)
      for (let i = 5; i < 20; i++) append(i)
      await pass(() => !broker.broker.stats().available)
      for (let i = 20; i < 30; i++) append(i)
      await passMs(20_000)
      // A commit of the journal that was under way when a write of the table failed is stored.
      const bound = part === 'journal' ? 5 : 20
      expect([...acked.values()].every((i) => i < bound)).toBe(true)
      expect(broker.log.filter((line) => line.startsWith('the store cannot be written,'))).toHaveLength(1)

      const other = await client.session('a', { create: false })
      const old = follow(other.records({ raw: true }))
      await pass(() => old.length >= acked.size)
      expect(values(old)).toEqual(Array.from({ length: old.length }, (_, i) => value(i)))
      expect(old.length).toBeLessThanOrEqual(bound)

      disk.mend()
      await pass(() => acked.size === 30 && live.length === 30 && old.length === 30)
      const expected = Array.from({ length: 30 }, (_, i) => value(i))
      expect([...acked].every(([offset, i]) => offset === i)).toBe(true)
      expect(values(live)).toEqual(expected)
      expect(values(old)).toEqual(expected)
      expect([disk.lost, disk.opened, broker.broker.stats().available]).toEqual([0, 2, true])
      expect(broker.log.filter((line) => line.includes('is written again'))).toHaveLength(1)

      // What a start finds is what was told.
      const next = await broker.restart()
      const peer = await next.peer()
      expect(await peer.attach('a', {})).toMatchObject({ nextOffset: 30 })
      const reading = await peer.read({ start: true }, { raw: true })
      await peer.until(() => reading.position === 30)
    },
  )

  test('while a stream is written: its tokens, its end and its state come through', async () => {
    const { disk, broker, client, pass } = await scene()
    const session = await client.session('a')
    const seen = follow(session.records({ raw: true }))
    const stream = await session.openStream('s')
    for (let i = 0; i < 10; i++) stream.write(`${i} `)
    await pass(() => seen.length > 0)
    disk.fail('journal')
    for (let i = 10; i < 20; i++) stream.write(`${i} `)
    await pass(() => !broker.broker.stats().available)
    disk.mend()
    for (let i = 20; i < 30; i++) stream.write(`${i} `)
    let ended = false
    void stream.end().then(() => {
      ended = true
    })
    await pass(() => ended && seen.at(-1)?.kind === 'stream' && seen.length > 1)
    const text = seen.flatMap((record) => (record.kind === 'token' ? [record.text] : [])).join('')
    expect(text).toBe(Array.from({ length: 30 }, (_, i) => `${i} `).join(''))
    expect(seen.flatMap((record) => (record.kind === 'stream' ? [record.state] : []))).toEqual(['open', 'done'])
  })
})

describe('while nothing can be written', () => {
  test('publishers that are paused are let go and refused', async () => {
    const store = await HeldStore.open()
    const broker = await TestBroker.start({ store })
    const [peer, idle] = [await broker.peer(), await broker.peer()]
    await peer.attach('a', { producer: 'p' })
    await peer.attach('quiet', { producer: 'p' }, 1)
    const open = store.holdJournal()
    const large = message('x'.repeat(200_000))
    const codes: Promise<string>[] = []
    const count = Math.ceil((LIMITS.uncommittedBytes * 2) / 200_000)
    for (let sequence = 0; sequence < count; sequence++) codes.push(codeOf(peer.append({ sequence }, large)))
    for (let turns = 0; turns < 500; turns++) await turn()
    // It is answered, and paused because it attaches while there is no room; nothing of it is under way.
    await idle.attach('quiet')
    store.break()
    open()
    await idle.roundTrip()
    expect(new Set(await Promise.all(codes))).toEqual(new Set(['STORE_UNAVAILABLE']))
    expect(broker.broker.stats().available).toBe(false)
  })

  test('what is committed is read, attached to and described, also where something was not stored', async () => {
    const store = await HeldStore.open()
    const broker = await TestBroker.start({ store })
    const peer = await broker.peer()
    for (const [handle, name] of ['torn', 'whole', 'doomed'].entries()) {
      await peer.attach(name, { producer: 'p' }, handle)
      await peer.append({ handle, sequence: 0 }, message(name))
    }
    store.break()
    const failing = peer.together(() => [
      codeOf(peer.append({ handle: 0, sequence: 1 }, message('lost'))),
      codeOf(peer.ask(UP.delete, 'doomed', null)),
      codeOf(peer.attach('unborn', { producer: 'p' }, 9)),
    ])
    expect(await Promise.all(failing)).toEqual(Array(3).fill('STORE_UNAVAILABLE'))
    const other = await broker.peer()
    for (const [handle, name] of ['torn', 'whole', 'doomed'].entries()) {
      expect(await other.attach(name, { producer: 'other', create: false }, handle)).toMatchObject({ nextOffset: 1 })
      const reading = await other.read({ start: true }, { handle, raw: true })
      await other.until(() => reading.position === 1)
    }
    expect(await other.ask(UP.describe, 'whole')).toMatchObject({ nextOffset: 1 })
    // Of these it is not certain what is stored.
    expect(await codeOf(other.ask(UP.describe, 'torn'))).toBe('STORE_UNAVAILABLE')
    expect(await codeOf(other.attach('torn', { producer: 'p' }, 5))).toBe('STORE_UNAVAILABLE')
    expect(await codeOf(other.attach('unborn', { create: false }, 6))).toBe('STORE_UNAVAILABLE')
    expect(await codeOf(other.attach('new', { producer: 'p' }, 7))).toBe('STORE_UNAVAILABLE')
  })

  test('a store that cannot be opened anew either is tried again, and clients are told to come back', async () => {
    const { disk, broker, pass, passMs } = await scene()
    const peer = await broker.peer()
    await peer.attach('a', { producer: 'p' })
    await peer.append({ sequence: 0 }, message('kept'))
    disk.fail('journal')
    expect(await codeOf(peer.append({ sequence: 1 }, message('lost')))).toBe('STORE_UNAVAILABLE')
    disk.closed = new LitetopicError('STORE_CORRUPT', 'journal entry 7 fails its checksum')
    disk.mend()
    await pass(() => peer.closeCode !== null)
    expect(peer.goaway).toMatchObject({ reason: 'the store is opened anew', maxDelayMs: expect.any(Number) })
    await passMs(20_000)
    expect(broker.log.filter((line) => line.includes('STORE_CORRUPT: journal entry 7'))).toHaveLength(1)
    const waiting = await broker.peer()
    expect(await codeOf(waiting.attach('a', { producer: 'p' }))).toBe('STORE_UNAVAILABLE')
    expect(await codeOf(waiting.ask(UP.list, '', {}))).toBe('STORE_UNAVAILABLE')
    expect(broker.broker.stats()).toMatchObject({ available: false, connections: 1 })
    disk.closed = null
    await pass(() => broker.broker.stats().available)
    expect(await waiting.attach('a', { producer: 'p' })).toMatchObject({ nextOffset: 1, producer: { sequence: 0 } })
    expect(await waiting.append({ sequence: 1 }, message('sent again'))).toBe(1)
  })
})

describe('damage', () => {
  /** Topics of several chunks each, all of them only in the table. */
  async function stored(...names: string[]): Promise<MemoryDisk> {
    const disk = new MemoryDisk()
    const broker = await TestBroker.start({}, disk)
    const peer = await broker.peer()
    for (const [handle, name] of names.entries()) {
      await peer.attach(name, { producer: 'p' }, handle)
      for (let sequence = 0; sequence < 3; sequence++) {
        await peer.append({ handle, sequence }, message(`${sequence} ${'x'.repeat(70_000)}`))
      }
    }
    await broker.broker.close()
    return disk.copy()
  }

  function damage(disk: MemoryDisk, index: number, at: number): void {
    const entries = disk.table.range({ gte: Buffer.of(index), lt: Buffer.of(index + 1) }, false, 99)
    const { key, value } = entries[at] as (typeof entries)[number]
    disk.table.set(
      key,
      value.map((byte, i) => (i === value.length - 9 ? byte ^ 4 : byte)),
    )
  }

  test('of a head: its topic is STORE_CORRUPT, the others work', async () => {
    const disk = await stored('bad', 'good')
    damage(disk, INDEX.head, 0)
    const broker = await TestBroker.start({}, disk)
    const peer = await broker.peer()
    expect(await codeOf(peer.attach('bad', { producer: 'q' }, 1))).toBe('STORE_CORRUPT')
    expect(await codeOf(peer.ask(UP.describe, 'bad'))).toBe('STORE_CORRUPT')
    await peer.attach('good', { producer: 'q' })
    expect(await peer.append({ sequence: 0 }, message('more'))).toBe(3)
    const reading = await peer.read({ start: true }, { raw: true })
    await peer.until(() => reading.position === 4)
    expect(broker.broker.stats().available).toBe(true)
  })

  test.each([0, 1, 2])('of chunk %i: its readers get what lies before, and STORE_CORRUPT', async (at) => {
    const disk = await stored('bad', 'good')
    damage(disk, INDEX.chunk, at)
    const broker = await TestBroker.start({}, disk)
    const peer = await broker.peer()
    for (const [handle, name] of ['bad', 'good'].entries()) await peer.attach(name, { producer: 'q' }, handle)
    for (const raw of [true, false]) {
      const bad = await peer.read({ start: true }, { raw })
      await peer.until(() => bad.ended !== null)
      expect([bad.ended?.code, bad.position]).toEqual(['STORE_CORRUPT', at])
      const good = await peer.read({ start: true }, { handle: 1, raw })
      await peer.until(() => good.position >= 3)
    }
    expect(await peer.append({ sequence: 0 }, message('more'))).toBe(3)
    expect(await peer.append({ handle: 1, sequence: 0 }, message('more'))).toBe(3)
    await eventually(() => broker.broker.stats().available)
  })

  test('of the journal: the broker does not start', async () => {
    const disk = new MemoryDisk()
    const broker = await TestBroker.start({}, disk)
    const peer = await broker.peer()
    await peer.attach('a', { producer: 'p' })
    for (let sequence = 0; sequence < 3; sequence++) await peer.append({ sequence }, message('m'))
    const missing = disk.copy()
    missing.entries.splice(1, 1)
    const wrong = disk.copy()
    wrong.entries[1] = (wrong.entries[1] as Uint8Array).map((byte, i) => (i === 30 ? byte ^ 1 : byte))
    for (const found of [missing, wrong]) expect(await codeOf(TestBroker.start({}, found))).toBe('STORE_CORRUPT')
  })
})

describe('large messages', () => {
  test.each<['journal' | 'table']>([['journal'], ['table']])(
    'go on being sent and being read when a write of the %s fails and the store is opened anew',
    async (part) => {
      const { disk, broker, client, pass } = await scene()
      const session = await client.session<Value>('a')
      const old = contentOf(8 * LIMITS.partBytes + 5, 1)
      const sent = contentOf(6 * LIMITS.partBytes + 7, 2)
      let stored = 0
      const noted = (storing: Promise<unknown>): void => void storing.then(() => stored++)
      noted(session.append(old))
      await pass(() => stored === 1)

      // Both are halfway: the reader has taken one piece, the source has given three parts.
      const larges: LargeMessageRecord<Value>[] = []
      void (async () => {
        for await (const record of session.records({ raw: true })) {
          if (record.kind === 'message' && record.large) larges.push(record)
        }
      })().catch(() => undefined) // the client is closed behind the test
      await pass(() => larges.length === 1)
      const reader = (larges[0] as LargeMessageRecord<Value>).large.stream().getReader()
      const pieces: Uint8Array[] = []
      let isRead = false
      const take = (): Promise<void> =>
        reader.read().then(({ value }) => {
          if (value === undefined) isRead = true
          else pieces.push(value)
        })
      void take()
      let goOn = (): void => undefined
      const gate = new Promise<void>((resolve) => {
        goOn = resolve
      })
      async function* source(): AsyncGenerator<Uint8Array> {
        yield sent.subarray(0, 3 * LIMITS.partBytes)
        await gate
        yield sent.subarray(3 * LIMITS.partBytes)
      }
      let sentBytes = 0
      const onProgress = (progress: AppendProgress): void => {
        sentBytes = progress.sentBytes
      }
      noted(session.append(source(), { onProgress }))
      await pass(() => sentBytes === 3 * LIMITS.partBytes && pieces.length === 1)

      disk.fail(part)
      noted(session.append(new Uint8Array(1)))
      goOn()
      await pass(() => !broker.broker.stats().available)
      disk.mend()
      await pass(() => stored === 3 && larges.length === 2)
      void (async () => {
        while (!isRead) await take()
      })()
      await pass(() => isRead)
      expect(Buffer.concat(pieces).equals(old)).toBe(true)
      let again: Uint8Array | null = null
      void larges[1]?.large.bytes().then((bytes) => {
        again = bytes
      })
      await pass(() => again !== null)
      expect(sent.equals(again as unknown as Uint8Array)).toBe(true)
      expect([disk.lost, disk.opened]).toEqual([0, 2])
    },
  )
})
