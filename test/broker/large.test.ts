/** Large messages: uploaded in parts, visible at once with one record, read in parts, and nothing left of what was not committed. */

import { expect, test } from 'vitest'
import { DOWN, LIMITS, UP } from '../../protocol/index.ts'
import { MemoryDisk, openMemoryStore } from '../../storage/index.ts'
import { partKey } from '../../storage/keys.ts'
import { afterwards, message, TestBroker } from './brokers.ts'
import { HeldStore } from './held-store.ts'
import {
  begin,
  contentOf,
  fetchAll,
  granted,
  keysLeft,
  large,
  NOTHING,
  partsOf,
  sendPart,
  type UploadPlace,
  upload,
} from './large.ts'
import { codeOf, type Peer, refusalOf } from './peer.ts'
import { eventually } from './virtual-clock.ts'

const { partBytes } = LIMITS
const SIZE = 2 * partBytes + 1_000
const content = contentOf(SIZE)

async function setUp(options: Parameters<typeof TestBroker.start>[0] = {}) {
  const disk = new MemoryDisk()
  const store = await openMemoryStore(disk)
  const broker = await TestBroker.start({ ...options, store })
  const writer = await broker.peer()
  const { epoch } = await writer.attach('t', { producer: 'w' })
  return { broker, store, disk, writer, epoch }
}

/** Another producer on the same topic. */
async function other(broker: TestBroker, producer?: string): Promise<Peer> {
  const peer = await broker.peer()
  await peer.attach('t', { create: false, producer })
  return peer
}

test('a content in parts becomes one record, and nothing of it is seen before', async () => {
  const { broker, writer, store } = await setUp()
  const reader = await other(broker)
  const reading = await reader.read({ start: true })
  await upload(writer, { uploadId: 'u', tag: 'json', size: SIZE }, content)
  await writer.append({ sequence: 0 }, message('before'))
  await reader.until(() => reading.records.length >= 1)
  expect(await codeOf(reader.ask(UP.fetch, 0, 1, 0, 10))).toBe('OFFSET_BEYOND_END')
  expect(await codeOf(reader.ask(UP.fetch, 0, 0, 0, 10))).toBe('BAD_REQUEST')
  expect(await writer.append({ sequence: 1 }, large('u', content, 'json', 'id-1'))).toBe(1)
  await reader.until(() => reading.records.length >= 2)
  expect(reading.records[1]).toMatchObject({ kind: 'message', id: 'id-1', data: 'json:' })
  expect((await fetchAll(reader, 1)).equals(content)).toBe(true)
  expect((await fetchAll(reader, 1, partBytes + 5)).equals(content.subarray(partBytes + 5))).toBe(true)
  const { bytes, size } = await reader.ask(UP.fetch, 0, 1, partBytes - 3, 100)
  expect([size, Buffer.from(bytes).equals(content.subarray(partBytes - 3, partBytes))]).toEqual([SIZE, true])
  expect(await reader.ask(UP.fetch, 0, 1, SIZE, 10)).toMatchObject({ size: SIZE, bytes: { length: 0 } })
  expect(await codeOf(reader.ask(UP.fetch, 0, 1, SIZE + 1, 10))).toBe('BAD_REQUEST')
  expect(await codeOf(reader.ask(UP.fetch, 0, 1, 0, 0))).toBe('BAD_REQUEST')
  const { bytes: kept } = await reader.ask(UP.describe, 't')
  expect(kept).toBeGreaterThan(SIZE)
  expect(kept).toBeLessThan(SIZE + 500)
  expect(await keysLeft(store)).toEqual({ parts: 3, uploads: 1 })
})

test('a commit needs an upload of its own producer, whole, and of its tag; a refused one stores nothing', async () => {
  const { broker, writer } = await setUp()
  const refused = (peer: Peer, sequence: number, ...fill: Parameters<typeof large>): Promise<string> =>
    codeOf(peer.append({ sequence }, large(...fill)))
  expect(await refused(writer, 0, 'never', content)).toBe('UPLOAD_UNKNOWN')
  await upload(writer, { uploadId: 'u' }, content, 2)
  expect(await refused(writer, 0, 'u', content)).toBe('UPLOAD_UNKNOWN')
  await upload(writer, { uploadId: 'u' }, content)
  expect(await refused(writer, 0, 'u', content.subarray(1))).toBe('UPLOAD_UNKNOWN')
  expect(await refused(writer, 0, 'u', content, 'text')).toBe('BAD_REQUEST')
  const thief = await other(broker, 'x')
  expect(await refused(thief, 0, 'u', content)).toBe('UPLOAD_UNKNOWN')
  expect(await codeOf(begin(thief, { uploadId: 'u' }))).toBe('BAD_REQUEST')
  expect(await codeOf(thief.ask(UP.abandon, 0, 'u'))).toBe('BAD_REQUEST')
  expect(await codeOf(writer.append({ sequence: 0 }, message('first'), large('u', content)))).toBe('BAD_REQUEST')
  expect(await writer.append({ sequence: 0 }, large('u', content))).toBe(0)
  expect(await refused(writer, 1, 'v', content)).toBe('UPLOAD_UNKNOWN')
  expect((await writer.ask(UP.describe, 't')).nextOffset).toBe(1)
})

test('parts are refused out of order, damaged, too large, behind a short one, and without a grant', async () => {
  const { writer } = await setUp({ maxMessageBytes: 3 * partBytes })
  const place: UploadPlace = { uploadId: 'u' }
  const [first, second, last] = partsOf(content) as [Uint8Array, Uint8Array, Uint8Array]
  expect(await codeOf(sendPart(writer, place, 0, first))).toBe('UPLOAD_UNKNOWN')
  expect(await codeOf(begin(writer, { ...place, size: 3 * partBytes + 1 }))).toBe('LIMIT_EXCEEDED')
  await begin(writer, place)
  await granted(writer, 'u')
  expect(await codeOf(sendPart(writer, place, 1, second))).toBe('BAD_REQUEST')
  expect(await codeOf(sendPart(writer, place, 0, first, 5))).toBe('BAD_VALUE')
  expect(await codeOf(sendPart(writer, place, 0, new Uint8Array(0)))).toBe('BAD_REQUEST')
  expect(await codeOf(sendPart(writer, place, 0, contentOf(partBytes + 1)))).toBe('BAD_REQUEST')
  await sendPart(writer, place, 0, first)
  await granted(writer, 'u')
  await sendPart(writer, place, 1, last)
  expect(await codeOf(sendPart(writer, place, 2, last))).toBe('BAD_REQUEST')
  // Another one, up to the bound: as it named no size, one more part is granted, for its client to learn that it is too large.
  const full: UploadPlace = { uploadId: 'v' }
  await upload(writer, full, contentOf(3 * partBytes))
  await writer.roundTrip()
  expect(writer.grants.get('v')).toBe(1)
  expect(await refusalOf(sendPart(writer, full, 3, last))).toMatchObject({
    code: 'LIMIT_EXCEEDED',
    details: { limit: 'largeMessageBytes', bound: 3 * partBytes },
  })
  for (const id of ['u', 'v']) await writer.ask(UP.abandon, 0, id)
  await begin(writer, { uploadId: 'w', size: 2 * partBytes })
  await granted(writer, 'w')
  await granted(writer, 'w')
  await writer.roundTrip()
  expect(writer.grants.get('w')).toBe(0)
  const answers = [sendPart(writer, { uploadId: 'w' }, 0, first), sendPart(writer, { uploadId: 'w' }, 1, second)]
  const third = sendPart(writer, { uploadId: 'w' }, 2, last)
  expect(await refusalOf(third)).toMatchObject({ code: 'LIMIT_EXCEEDED', details: { limit: 'partsPerConnection' } })
  await Promise.all(answers)
})

test('an upload goes on where it was after a dropped connection, and the old one can do no harm', async () => {
  const { broker, writer, epoch } = await setUp()
  await upload(writer, { uploadId: 'u' }, content, 1)
  const [, second, last] = partsOf(content) as [Uint8Array, Uint8Array, Uint8Array]
  const again = await broker.peer()
  await again.attach('t', { producer: 'w', epoch })
  expect(await begin(again, { uploadId: 'u' })).toEqual({ storedParts: 1, offset: null })
  expect(await codeOf(sendPart(writer, { uploadId: 'u' }, 1, last))).toBe('UPLOAD_UNKNOWN')
  await broker.drop(writer)
  await granted(again, 'u')
  await sendPart(again, { uploadId: 'u' }, 1, second)
  await granted(again, 'u')
  await sendPart(again, { uploadId: 'u' }, 2, last)
  expect(await again.append({ sequence: 0 }, large('u', content))).toBe(0)
  expect((await fetchAll(again, 0)).equals(content)).toBe(true)
})

test('what was uploaded or committed is so after a kill: parts are not sent again, a message is not stored again', async () => {
  const before = await TestBroker.start()
  const writer = await before.peer()
  const { epoch } = await writer.attach('t', { producer: 'w' })
  await upload(writer, { uploadId: 'u' }, content)
  expect(await writer.append({ sequence: 0 }, large('u', content, 'bytes', 'id-1'))).toBe(0)
  await upload(writer, { uploadId: 'v' }, content, 2)
  const broker = await before.kill()
  const again = await broker.peer()
  await again.attach('t', { producer: 'w', epoch })
  expect(await begin(again, { uploadId: 'u' })).toEqual({ storedParts: 0, offset: 0 })
  expect(await begin(again, { uploadId: 'x', id: 'id-1' })).toEqual({ storedParts: 0, offset: 0 })
  expect(await again.ask(UP.abandon, 0, 'u')).toEqual({})
  expect(await again.append({ sequence: 0 }, large('u', content, 'bytes', 'id-1'))).toBe(0)
  // A new producer epoch, as after a refusal: by its id, and without one by its upload.
  expect(await again.append({ epoch: 1, sequence: 0 }, large('u', content, 'bytes', 'id-1'))).toBe(0)
  expect(await again.append({ epoch: 1, sequence: 1 }, large('u', content))).toBe(0)
  await upload(again, { uploadId: 'v' }, content)
  expect(await again.append({ epoch: 1, sequence: 2 }, large('v', content))).toBe(1)
  await broker.clock.advance(LIMITS.quietMs)
  for (const offset of [0, 1]) expect((await fetchAll(again, offset)).equals(content)).toBe(true)
  // Flushed meanwhile: the table alone knows now.
  expect(await begin(again, { uploadId: 'u' })).toEqual({ storedParts: 0, offset: 0 })
})

test('an append that repeats a record id deletes its upload, and keeps the first content', async () => {
  const { writer, store } = await setUp()
  await upload(writer, { uploadId: 'u' }, content)
  expect(await writer.append({ sequence: 0 }, large('u', content, 'bytes', 'id'))).toBe(0)
  const second = contentOf(SIZE, 2)
  await upload(writer, { uploadId: 'v' }, second)
  expect(await writer.append({ sequence: 1 }, large('v', second, 'bytes', 'id'))).toBe(0)
  await eventually(async () => (await keysLeft(store)).parts === 3)
  expect((await fetchAll(writer, 0)).equals(content)).toBe(true)
})

test.each(['before', 'behind'])(
  'an upload abandoned right %s its commit is a whole message, or none',
  async (order) => {
    const { writer, store } = await setUp()
    await upload(writer, { uploadId: 'u' }, content)
    const abandon = (): Promise<unknown> => writer.ask(UP.abandon, 0, 'u')
    const before = order === 'before' ? abandon() : null
    const offset = writer.append({ sequence: 0 }, large('u', content)).catch(() => null)
    await (before ?? abandon())
    const isStored = (await offset) !== null
    if (isStored) expect((await fetchAll(writer, 0)).equals(content)).toBe(true)
    expect(await keysLeft(store)).toEqual(isStored ? { parts: 3, uploads: 1 } : NOTHING)
  },
)

test('nothing is left of an upload that is abandoned, that expires, or whose topic is deleted', async () => {
  const { broker, writer, store, epoch } = await setUp({ lingerMs: 'forever' })
  await upload(writer, { uploadId: 'u' }, content)
  await writer.ask(UP.abandon, 0, 'u')
  expect(await keysLeft(store)).toEqual(NOTHING)
  expect(await codeOf(writer.append({ sequence: 0 }, large('u', content)))).toBe('UPLOAD_UNKNOWN')
  await upload(writer, { uploadId: 'v' }, content, 1)
  await broker.drop(writer)
  await broker.clock.advance(LIMITS.uploadIdleMs - 1000)
  expect(await keysLeft(store)).toEqual({ parts: 1, uploads: 1 })
  const again = await broker.peer()
  await again.attach('t', { producer: 'w', epoch })
  await upload(again, { uploadId: 'v' }, content, 2)
  await broker.drop(again)
  await broker.clock.advance(LIMITS.uploadIdleMs - 1000)
  expect(await keysLeft(store)).toEqual({ parts: 2, uploads: 1 })
  await broker.clock.advance(2000)
  await eventually(async () => (await keysLeft(store)).uploads === 0)
  expect(await keysLeft(store)).toEqual(NOTHING)
  const last = await broker.peer()
  await last.attach('t', { producer: 'w', epoch })
  await upload(last, { uploadId: 'w' }, content, 2)
  await last.ask(UP.delete, 't', null)
  expect(await codeOf(begin(last, { uploadId: 'w' }))).toBe('GONE')
  await eventually(async () => (await keysLeft(store)).uploads === 0)
  expect(await keysLeft(store)).toEqual(NOTHING)
})

test('a part that is on its way when its topic is deleted leaves nothing behind', async () => {
  const { broker, writer, store } = await setUp()
  const place: UploadPlace = { uploadId: 'u' }
  await begin(writer, place)
  for (let i = 0; i < 3; i++) await granted(writer, 'u')
  const parts = partsOf(contentOf(3 * partBytes))
  const answers = writer.together(() => {
    const sent = parts.map((part, i) => sendPart(writer, place, i, part))
    return [...sent, writer.ask(UP.delete, 't', null)]
  })
  const codes = await Promise.all(answers.map((answer) => codeOf(answer)))
  expect(codes.at(-1)).toBe('ok')
  expect(codes.slice(0, 3)).toEqual(['UPLOAD_UNKNOWN', 'UPLOAD_UNKNOWN', 'UPLOAD_UNKNOWN'])
  await eventually(async () => (await keysLeft(store)).uploads === 0)
  await broker.clock.advance(60_000)
  expect(await keysLeft(store)).toEqual(NOTHING)
})

test('after a kill, uploads get their full time, and those whose topic is gone go at once', async () => {
  const { broker, disk, writer, store: first } = await setUp({ lingerMs: 'forever' })
  await upload(writer, { uploadId: 'u' }, content, 2)
  const second = await broker.peer()
  await second.attach('gone', { producer: 'w' })
  await upload(second, { uploadId: 'v' }, content, 2)
  await broker.clock.advance(LIMITS.uploadIdleMs - 5000)
  // Killed when the deletion is committed, and nothing has followed from it: the table takes nothing any more.
  const { write, clear } = first.table
  const killed = new Promise<void>((resolve) => afterwards(async () => resolve()))
  first.table.write = (changes) => killed.then(() => write.call(first.table, changes))
  first.table.clear = (range, limit) => killed.then(() => clear.call(first.table, range, limit))
  const late = await broker.peer()
  await late.ask(UP.delete, 'gone', null)
  const store = await openMemoryStore(disk.copy())
  expect(await keysLeft(store)).toEqual({ parts: 4, uploads: 2 })
  const next = await TestBroker.start({ store, clock: broker.clock, lingerMs: 'forever' })
  await eventually(async () => (await keysLeft(store)).uploads === 1)
  expect(await keysLeft(store)).toEqual({ parts: 2, uploads: 1 })
  await next.clock.advance(LIMITS.uploadIdleMs - 1000)
  expect(await keysLeft(store)).toEqual({ parts: 2, uploads: 1 })
  await next.clock.advance(2000)
  await eventually(async () => (await keysLeft(store)).uploads === 0)
  expect(await keysLeft(store)).toEqual(NOTHING)
})

test('after a kill, uploads of a topic whose creation was not committed go at once', async () => {
  const disk = new MemoryDisk()
  const first = await HeldStore.open(disk)
  const broker = await TestBroker.start({ store: first, lingerMs: 'forever' })
  const letCommit = first.holdJournal()
  afterwards(async () => letCommit())
  const writer = await broker.peer()
  void writer.attach('never', { producer: 'w' })
  await upload(writer, { uploadId: 'u' }, content, 2)
  const store = await openMemoryStore(disk.copy())
  expect(await keysLeft(store)).toEqual({ parts: 2, uploads: 1 })
  await TestBroker.start({ store, clock: broker.clock, lingerMs: 'forever' })
  await eventually(async () => (await keysLeft(store)).uploads === 0)
  expect(await keysLeft(store)).toEqual(NOTHING)
})

test('a trim gives back what large messages take, and their bytes', async () => {
  const { broker, writer, store } = await setUp()
  for (let i = 0; i < 3; i++) {
    await upload(writer, { uploadId: `u${i}` }, content)
    await writer.append({ sequence: i }, large(`u${i}`, content))
  }
  await broker.clock.advance(LIMITS.quietMs)
  await eventually(async () => (await keysLeft(store)).uploads === 0)
  const before = (await writer.ask(UP.describe, 't')).bytes
  await writer.ask(UP.trim, 0, 0, 3, { before: 2 })
  await eventually(async () => (await keysLeft(store)).parts === 4)
  const after = (await writer.ask(UP.describe, 't')).bytes
  expect(before - after).toBeGreaterThanOrEqual(2 * SIZE)
  expect(after).toBeGreaterThan(SIZE)
  expect(await codeOf(writer.ask(UP.fetch, 0, 1, 0, 10))).toBe('TRIMMED')
  expect((await fetchAll(writer, 2)).equals(content)).toBe(true)
})

test('a damaged or missing part is STORE_CORRUPT, and none of its bytes is given out', async () => {
  const { writer, store, epoch, broker } = await setUp()
  await upload(writer, { uploadId: 'u' }, content)
  await writer.append({ sequence: 0 }, large('u', content))
  const key = partKey(epoch, 'u', 1)
  const sound = (await store.table.get(key)) as Uint8Array
  await store.table.write([{ key, value: sound.map((byte, i) => (i === 1000 ? byte ^ 4 : byte)) }])
  expect(await codeOf(writer.ask(UP.fetch, 0, 0, partBytes, partBytes))).toBe('STORE_CORRUPT')
  await store.table.write([{ key, value: null }])
  expect(await codeOf(writer.ask(UP.fetch, 0, 0, partBytes + 7, 5))).toBe('STORE_CORRUPT')
  expect(broker.log.filter((line) => line.startsWith('STORE_CORRUPT'))).toHaveLength(2)
  expect((await writer.ask(UP.fetch, 0, 0, 0, partBytes)).bytes).toHaveLength(partBytes)
  expect((await writer.ask(UP.fetch, 0, 0, 2 * partBytes, partBytes)).bytes).toHaveLength(1000)
})

test('uploads are bounded by topic, and a connection is granted no more parts than its share', async () => {
  const { writer } = await setUp()
  for (let i = 0; i < LIMITS.uploadsPerTopic; i++) await begin(writer, { uploadId: `u${i}` })
  expect(await refusalOf(begin(writer, { uploadId: 'more' }))).toMatchObject({
    code: 'LIMIT_EXCEEDED',
    details: { limit: 'uploadsPerTopic', bound: LIMITS.uploadsPerTopic },
  })
  await writer.roundTrip()
  const total = [...writer.grants.values()].reduce((sum, parts) => sum + parts, 0)
  expect(total).toBe(LIMITS.partsPerConnection)
})

test('an upload whose client is gone makes room for a new one when there are too many, the oldest first', async () => {
  const { broker, writer } = await setUp()
  for (let i = 0; i < LIMITS.uploadsPerTopic; i++) {
    await begin(writer, { uploadId: `u${i}` })
    await broker.clock.advance(1)
  }
  await broker.drop(writer)
  const next = await broker.peer()
  await next.attach('t', { producer: 'next' })
  await upload(next, { uploadId: 'more' }, content)
  expect(await next.append({ sequence: 0 }, large('more', content))).toBe(0)
  const again = await broker.peer()
  await again.attach('t', { producer: 'w' })
  expect(await codeOf(again.append({ sequence: 0 }, large('u0', content)))).toBe('UPLOAD_UNKNOWN')
  expect((await begin(again, { uploadId: 'u1' })).storedParts).toBe(0)
})

test('many that let their grants go by do not hold up one that uses its own', async () => {
  const { broker, writer } = await setUp()
  for (let i = 0; i < 10; i++) {
    const silent = await broker.peer()
    for (let k = 0; k < 4; k++) {
      await silent.attach(`silent${i}-${k}`, { producer: 'w' }, k)
      await begin(silent, { uploadId: `u${k}`, handle: k })
    }
  }
  let done = false
  const uploading = upload(writer, { uploadId: 'u' }, contentOf(8 * partBytes)).then(() => {
    done = true
  })
  let waitedMs = 0
  for (; !done && waitedMs < 200_000; waitedMs += 100) {
    await broker.clock.advance(100)
    await writer.roundTrip()
  }
  expect(done).toBe(true)
  // Eight parts, each behind forty others, would take more than six minutes if each of those kept its grant for 10 s.
  expect(waitedMs).toBeLessThan(120_000)
  await uploading
})

test('tokens flow between the parts of an upload and of an answer on the same connection', async () => {
  const { writer, store } = await setUp()
  const reading = await writer.read({ start: true })
  const parts = partsOf(contentOf(4 * partBytes))
  await begin(writer, { uploadId: 'u' })
  for (let i = 0; i < 4; i++) await granted(writer, 'u')
  const { table } = store
  const write = table.write.bind(table)
  let release = (): void => undefined
  const gate = new Promise<void>((resolve) => {
    release = resolve
  })
  table.write = (changes) => gate.then(() => write(changes))
  const stored = parts.map((part, i) => sendPart(writer, { uploadId: 'u' }, i, part))
  const from = writer.order.length
  // All four parts wait for the disk, and tokens behind them on the same socket do not.
  for (let i = 0; i < 4; i++) await writer.append({ sequence: i }, message(`token ${i}`))
  await writer.until(() => reading.records.length === 4)
  expect(writer.order.slice(from)).not.toContain(DOWN.reply)
  release()
  await Promise.all(stored)
  await writer.append({ sequence: 4 }, large('u', Buffer.concat(parts)))
  const mark = writer.order.length
  const fetched = parts.map((_, i) => writer.ask(UP.fetch, 0, 4, i * partBytes, partBytes))
  for (let i = 0; i < 20; i++) {
    await writer.append({ sequence: 5 + i }, message(`later ${i}`))
  }
  await Promise.all(fetched)
  const down = writer.order.slice(mark)
  const firstReply = down.indexOf(DOWN.reply)
  const between = down.slice(firstReply, down.lastIndexOf(DOWN.reply))
  expect(between).toContain(DOWN.deliver)
})

test('a grant that is not used while others wait is taken back, and given again in its turn', async () => {
  const { broker } = await setUp()
  const slots = LIMITS.partMemoryBytes / partBytes
  const peers: Peer[] = []
  for (let i = 0; i * LIMITS.partsPerConnection < slots; i++) {
    const peer = await broker.peer()
    await peer.attach(`t${i}`, { producer: 'w' })
    await begin(peer, { uploadId: 'u' })
    await peer.until(() => peer.grants.get('u') === LIMITS.partsPerConnection)
    peers.push(peer)
  }
  const late = await broker.peer()
  await late.attach('late', { producer: 'w' })
  await begin(late, { uploadId: 'u' })
  await late.roundTrip()
  expect(late.grants.get('u')).toBe(0)
  await broker.clock.advance(LIMITS.partGrantMs - 1)
  expect(late.grants.get('u')).toBe(0)
  await broker.clock.advance(2)
  await late.until(() => (late.grants.get('u') ?? 0) > 0)
  const [first] = peers as [Peer]
  await first.until(() => first.grants.get('u') === 0)
  const parts = partsOf(content) as [Uint8Array, Uint8Array, Uint8Array]
  // These were on their way when the grant was taken back: both are to be sent again, in order.
  expect(await codeOf(sendPart(first, { uploadId: 'u' }, 0, parts[0]))).toBe('RATE_LIMITED')
  expect(await codeOf(sendPart(first, { uploadId: 'u' }, 1, parts[1]))).toBe('RATE_LIMITED')
  await sendPart(late, { uploadId: 'u' }, 0, parts[0])
  await granted(first, 'u')
  expect(await codeOf(sendPart(first, { uploadId: 'u' }, 1, parts[1]))).toBe('RATE_LIMITED')
  await sendPart(first, { uploadId: 'u' }, 0, parts[0])
  // With memory to spare, what is on its way is taken although its grant is gone.
  await broker.drop(late)
  await first.until(() => (first.grants.get('u') ?? 0) > 0)
})

test('readers that take nothing hold up others for a while only, and are cut off then', async () => {
  const { broker, writer } = await setUp()
  const big = contentOf(64 * partBytes)
  await upload(writer, { uploadId: 'u' }, big)
  await writer.append({ sequence: 0 }, large('u', big))
  const stuck: Peer[] = []
  for (let i = 0; i < LIMITS.partMemoryBytes / partBytes; i++) {
    const peer = await other(broker)
    for (let part = 0; part < 64; part++) void peer.ask(UP.fetch, 0, 0, part * partBytes, partBytes)
    await peer.until(() => peer.order.includes(DOWN.reply))
    peer.socket.pause()
    stuck.push(peer)
  }
  const reader = await other(broker)
  const before = broker.broker.stats().connections
  let read: Buffer | null = null
  void fetchAll(reader, 0).then((bytes) => {
    read = bytes
  })
  await broker.pass(() => read !== null, 120)
  expect(big.equals(read as unknown as Buffer)).toBe(true)
  expect(reader.closeCode).toBeNull()
  expect(broker.broker.stats().connections).toBeLessThan(before)
  for (const peer of stuck) peer.socket.terminate()
})
