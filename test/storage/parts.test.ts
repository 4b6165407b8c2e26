/** Large messages in the store: parts outside the journal, the uploads that they belong to, and that none is left behind. */

import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { isLitetopicError, LIMITS, type LitetopicError } from '../../protocol/index.ts'
import { MARK_PART, partKey } from '../../storage/keys.ts'
import { recentUpload, type StoredUpload } from '../../storage/parts.ts'
import { INDEX } from '../../storage/store.ts'
import type { TopicState } from '../../storage/topic-state.ts'
import { PLACES, type ShardPlace } from './shard-place.ts'
import { type Rig, type TestRecord, until } from './shard-rig.ts'

const yes = (): boolean => true
const SMALL = 1_000
const full = (byte: number): Uint8Array => new Uint8Array(LIMITS.partBytes).fill(byte)
const large = (uploadId: string, size: number): TestRecord => ({ kind: 'large', uploadId, size })
const message = (text: string): TestRecord => ({ kind: 'message', text })
const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'ok',
    (error: unknown) => (isLitetopicError(error) ? error.code : String(error)),
  )

describe.each(PLACES)('large messages on %s', (_, makePlace) => {
  let place: ShardPlace
  let rig: Rig

  beforeEach(async () => {
    place = await makePlace()
    rig = await place.open()
  })

  afterEach(async () => {
    await place.store.close()
    await place.remove()
  })

  const uploadOf = (state: TopicState, uploadId: string): StoredUpload => ({
    epoch: state.epoch,
    uploadId,
    name: state.name,
    producerId: 'p',
    tag: 'bytes',
    startedMs: 1,
  })

  /** Begins an upload and writes its parts: full ones, and a last one of SMALL bytes. Returns the size. */
  async function upload(state: TopicState, uploadId: string, parts = 2): Promise<number> {
    const { epoch } = state
    await rig.shard.parts.begin(uploadOf(state, uploadId), yes)
    const written = Array.from({ length: parts }, (_, i) => {
      const bytes = i < parts - 1 ? full(i) : new Uint8Array(SMALL).fill(i)
      return rig.shard.parts.write(epoch, uploadId, i, bytes, yes)
    })
    await Promise.all(written)
    return (parts - 1) * LIMITS.partBytes + SMALL
  }

  async function load(name: string): Promise<TopicState> {
    return (await rig.shard.load(name)) as TopicState
  }

  const keys = async (): Promise<number> =>
    (await place.entries(INDEX.part)).length + (await place.entries(INDEX.upload)).length

  test('parts are durable when they are written, and an upload goes on behind them after a kill', async () => {
    const state = await rig.create('t')
    const size = await upload(state, 'u', 3)
    rig = await place.kill()
    const { uploads, last } = await rig.shard.parts.uploads(null, 10, (error) => expect.fail(error.message))
    expect([uploads, last]).toEqual([[uploadOf(state, 'u')], null])
    expect(await rig.shard.parts.stored(state.epoch, 'u')).toEqual({ parts: 3, bytes: size, offset: null })
    expect(await rig.shard.parts.stored(state.epoch, 'v')).toEqual({ parts: 0, bytes: 0, offset: null })
    expect(Buffer.from(await rig.shard.parts.read(state.epoch, 'u', 1, LIMITS.partBytes)).equals(full(1))).toBe(true)
  })

  test('uploads are listed in pages, and one whose entry is damaged keeps no other from being found', async () => {
    const state = await rig.create('t')
    for (const id of ['a', 'b', 'c', 'd']) await rig.shard.parts.begin(uploadOf(state, id), yes)
    const entries = await place.entries(INDEX.upload)
    const { key, value } = entries[1] as { key: Uint8Array; value: Uint8Array }
    await place.store.table.write([{ key, value: value.map((byte, i) => (i === 6 ? byte ^ 1 : byte)) }])
    const damaged: LitetopicError[] = []
    const first = await rig.shard.parts.uploads(null, 2, (error) => damaged.push(error))
    const second = await rig.shard.parts.uploads(first.last, 2, (error) => damaged.push(error))
    const third = await rig.shard.parts.uploads(second.last, 2, (error) => damaged.push(error))
    expect(third).toEqual({ uploads: [], last: null })
    expect([...first.uploads, ...second.uploads].map(({ uploadId }) => uploadId)).toEqual(['a', 'c', 'd'])
    expect(damaged.map(({ code }) => code)).toEqual(['STORE_CORRUPT'])
  })

  test('a record takes its upload over: known in memory, then by a mark in the table, also after kills', async () => {
    const state = await rig.create('t')
    const size = await upload(state, 'u')
    const before = state.bytes
    await rig.append(state, [message('a')])
    const plain = state.bytes - before
    await rig.append(state, [large('u', size)])
    expect(recentUpload(state, 'u')).toBe(1)
    const bytes = state.bytes
    expect(bytes).toBeGreaterThan(before + plain + size)
    expect(bytes).toBeLessThan(before + plain + size + 200)
    rig = await place.kill()
    const replayed = await load('t')
    expect([recentUpload(replayed, 'u'), replayed.bytes]).toEqual([1, bytes])
    expect(await place.entries(INDEX.upload)).toHaveLength(1)
    await rig.flush(replayed)
    expect(recentUpload(replayed, 'u')).toBeNull()
    expect(await rig.shard.parts.stored(state.epoch, 'u')).toEqual({ parts: 0, bytes: 0, offset: 1 })
    expect(await place.entries(INDEX.upload)).toEqual([])
    rig = await place.reopen()
    const stored = await load('t')
    expect([stored.bytes, stored.counts?.large, await rig.read(stored)]).toEqual([
      bytes,
      1,
      ['0:  a', `1: large u ${size}`],
    ])
  })

  test('what was abandoned is gone, and a part that comes late stays out', async () => {
    const state = await rig.create('t')
    await upload(state, 'u', 70)
    await upload(state, 'u2', 1)
    let wanted = true
    const first = rig.shard.parts.write(state.epoch, 'u', 70, full(1), () => wanted)
    const removed = Promise.all([first, rig.shard.parts.remove(state.epoch, 'u')])
    wanted = false
    const late = rig.shard.parts.write(state.epoch, 'u', 71, full(1), () => wanted)
    expect(await codeOf(late)).toBe('UPLOAD_UNKNOWN')
    expect(await codeOf(removed)).toBe('UPLOAD_UNKNOWN')
    await rig.shard.parts.remove(state.epoch, 'u')
    expect(await keys()).toBe(2)
    expect(await rig.shard.parts.stored(state.epoch, 'u2')).toMatchObject({ parts: 1 })
  })

  test('one write of the table holds about a mebibyte of parts, in the order in which they came', async () => {
    const state = await rig.create('t')
    const sizes: number[] = []
    const { table } = place.store
    const write = table.write.bind(table)
    table.write = (changes) => {
      sizes.push(changes.length)
      return write(changes)
    }
    await upload(state, 'u', 11)
    // The upload by itself; then three full parts at a time, as four are a little more than a mebibyte with their keys.
    expect(sizes).toEqual([1, 3, 3, 3, 2])
  })

  test('a trim frees the parts of what it cuts, and of nothing else, as soon as that is flushed', async () => {
    const state = await rig.create('t')
    const sizes = [await upload(state, 'a'), await upload(state, 'b'), await upload(state, 'c')]
    await rig.append(state, [message('x')])
    for (const [i, id] of ['a', 'b', 'c'].entries()) await rig.append(state, [large(id, sizes[i] as number)])
    await rig.append(state, [message('y')])
    await rig.flush(state)
    const before = state.bytes
    await rig.trim(state, 3)
    rig.shard.collectTrimmed(state)
    await until(() => state.clearedTo === 3)
    const hex = (key: Uint8Array): string => Buffer.from(key).toString('hex')
    const left = (await place.entries(INDEX.part)).map(({ key }) => hex(key))
    expect(left).toEqual([0, 1, MARK_PART].map((part) => hex(partKey(state.epoch, 'c', part))))
    expect(before).toBeGreaterThan(3 * LIMITS.partBytes)
    expect(await rig.read(state)).toEqual([`3: large c ${sizes[2]}`, '4:  y'])
  })

  test('one that is trimmed before it was ever flushed does not stay either, and counts no longer', async () => {
    const state = await rig.create('t')
    const size = await upload(state, 'u')
    await rig.append(state, [large('u', size)])
    const { bytes } = state
    await rig.append(state, [message('y')])
    await rig.trim(state, 1, bytes)
    await rig.flush(state)
    await rig.shard.quiesce()
    expect(await keys()).toBe(0)
    expect(state.bytes).toBeLessThan(SMALL)
  })

  for (const flushed of [false, true]) {
    test(`a deleted topic leaves no key of a large message, ${flushed ? 'flushed' : 'not flushed'}, killed or not`, async () => {
      for (const killed of [false, true]) {
        const state = await rig.create('t')
        const size = await upload(state, 'u')
        await rig.append(state, [large('u', size)])
        if (flushed) await rig.flush(state)
        await rig.delete(state)
        if (killed) rig = await place.kill()
        await rig.shard.quiesce()
        expect(await keys(), `killed: ${killed}`).toBe(0)
      }
    })
  }

  test('a part that is damaged, missing, of another length or in another place is never given out', async () => {
    const state = await rig.create('t')
    await upload(state, 'u', 3)
    const { table } = place.store
    const { parts } = rig.shard
    const key = partKey(state.epoch, 'u', 0)
    const sound = (await table.get(key)) as Uint8Array
    await table.write([{ key, value: sound.map((byte, i) => (i === 100 ? byte ^ 1 : byte)) }])
    expect(await codeOf(parts.read(state.epoch, 'u', 0, LIMITS.partBytes))).toBe('STORE_CORRUPT')
    await table.write([{ key, value: (await table.get(partKey(state.epoch, 'u', 1))) as Uint8Array }])
    expect(await codeOf(parts.read(state.epoch, 'u', 0, LIMITS.partBytes))).toBe('STORE_CORRUPT')
    await table.write([{ key, value: null }])
    expect(await codeOf(parts.read(state.epoch, 'u', 0, LIMITS.partBytes))).toBe('STORE_CORRUPT')
    expect(await codeOf(parts.read(state.epoch, 'u', 2, LIMITS.partBytes))).toBe('STORE_CORRUPT')
    expect(await codeOf(parts.read(state.epoch, 'u', 2, SMALL))).toBe('ok')
  })
})
