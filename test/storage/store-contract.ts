/** What every store does, whatever it is made of. `storeContract` runs it on one implementation. */

import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { LIMITS } from '../../protocol/index.ts'
import type { JournalEntry, Store, StoreSnapshot, TableChange, TableEntry } from '../../storage/store.ts'

/** A place where stores are opened, one after the other, each with the data of the one before. */
export interface StorePlace {
  open(): Promise<Store>
  remove(): Promise<void>
}

export const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text))
export const text = (value: Uint8Array | undefined): string | undefined =>
  value === undefined ? undefined : Buffer.from(value).toString()

export async function journalOf(store: Store): Promise<JournalEntry[]> {
  const found: JournalEntry[] = []
  for await (const entry of store.journal.entries()) found.push(entry)
  return found
}

const numbersOf = async (store: Store) => (await journalOf(store)).map(({ number }) => number)
const put = (key: string, value: string): TableChange => ({ key: bytes(key), value: bytes(value) })
const del = (key: string): TableChange => ({ key: bytes(key), value: null })
const keysOf = (entries: readonly TableEntry[]) => entries.map(({ key }) => text(key))
const between = (gte: string, lt: string) => ({ gte: bytes(gte), lt: bytes(lt) })

export function storeContract(name: string, makePlace: () => Promise<StorePlace>): void {
  describe(`${name} keeps the contract of a store`, () => {
    let place: StorePlace
    let store: Store

    beforeEach(async () => {
      place = await makePlace()
      store = await place.open()
    })

    afterEach(async () => {
      await store.close()
      await place.remove()
    })

    async function reopen(): Promise<void> {
      await store.close()
      store = await place.open()
    }

    describe('journal', () => {
      test('a new journal is empty, and its last number is 0', async () => {
        expect(store.journal.last).toBe(0)
        expect(await journalOf(store)).toEqual([])
      })

      test('entries come back in the order of their numbers, also after opening anew', async () => {
        await store.journal.append(1, [bytes('a'), bytes('b')])
        await store.journal.append(3, [bytes('c')])
        await reopen()
        const found = await journalOf(store)
        expect(found.map((entry) => [entry.number, text(entry.bytes)])).toEqual([
          [1, 'a'],
          [2, 'b'],
          [3, 'c'],
        ])
        expect(store.journal.last).toBe(3)
      })

      test('entries are in order beyond 255 and 65,535', async () => {
        const many = Array.from({ length: 66_000 }, () => bytes('x'))
        await store.journal.append(1, many)
        await store.journal.truncate(250)
        let expected = 251
        for await (const { number } of store.journal.entries()) {
          if (number !== expected) expect(number).toBe(expected)
          expected++
        }
        expect(expected).toBe(66_001)
      })

      test('a number that is not the next one is refused as NOT_OWNER, and nothing is stored', async () => {
        await store.journal.append(1, [bytes('a')])
        await expect(store.journal.append(1, [bytes('again')])).rejects.toMatchObject({ code: 'NOT_OWNER' })
        await expect(store.journal.append(3, [bytes('beyond')])).rejects.toMatchObject({ code: 'NOT_OWNER' })
        expect(store.journal.last).toBe(1)
        await store.journal.append(2, [bytes('b')])
        expect((await journalOf(store)).map((entry) => text(entry.bytes))).toEqual(['a', 'b'])
      })

      test('an entry beyond the limit is refused, and the journal goes on', async () => {
        const large = new Uint8Array(LIMITS.journalEntryBytes + 1)
        await expect(store.journal.append(1, [bytes('a'), large])).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
        await store.journal.append(1, [large.subarray(1)])
        expect((await journalOf(store))[0]?.bytes.length).toBe(LIMITS.journalEntryBytes)
      })

      test('appends called without waiting are stored in the order of their calls', async () => {
        const appends = Array.from({ length: 50 }, (_, i) => store.journal.append(i + 1, [bytes(`${i + 1}`)]))
        const twice = store.journal.append(50, [bytes('twice')])
        await expect(twice).rejects.toMatchObject({ code: 'NOT_OWNER' })
        await Promise.all(appends)
        for (const { number, bytes } of await journalOf(store)) expect(text(bytes)).toBe(`${number}`)
        expect(store.journal.last).toBe(50)
      })

      test('truncation forgets the oldest entries, and last stays', async () => {
        await store.journal.append(1, ['a', 'b', 'c', 'd'].map(bytes))
        await store.journal.truncate(2)
        expect(await numbersOf(store)).toEqual([3, 4])
        await store.journal.truncate(1)
        expect(await numbersOf(store)).toEqual([3, 4])
        await reopen()
        expect(await numbersOf(store)).toEqual([3, 4])
        expect(store.journal.last).toBe(4)
      })

      test('last survives the truncation of every entry, and opening anew', async () => {
        await store.journal.append(1, ['a', 'b', 'c'].map(bytes))
        await store.journal.truncate(3)
        expect(await journalOf(store)).toEqual([])
        await reopen()
        expect(store.journal.last).toBe(3)
        expect(await journalOf(store)).toEqual([])
        await expect(store.journal.append(1, [bytes('old')])).rejects.toMatchObject({ code: 'NOT_OWNER' })
        await store.journal.append(4, [bytes('d')])
        await reopen()
        expect(await numbersOf(store)).toEqual([4])
      })

      test('truncation beyond the newest entry forgets what there is, and no more', async () => {
        await store.journal.append(1, [bytes('a')])
        await store.journal.truncate(99)
        await store.journal.append(2, [bytes('b')])
        expect(await numbersOf(store)).toEqual([2])
      })

      test('goes on behind the number it skips to, and only an empty one skips', async () => {
        await store.journal.append(1, ['a', 'b'].map(bytes))
        await expect(store.journal.skipTo(9)).rejects.toMatchObject({ code: 'NOT_OWNER' })
        await store.journal.truncate(2)
        await expect(store.journal.skipTo(1)).rejects.toMatchObject({ code: 'NOT_OWNER' })
        await store.journal.skipTo(2 ** 40)
        expect(store.journal.last).toBe(2 ** 40)
        await expect(store.journal.append(3, [bytes('c')])).rejects.toMatchObject({ code: 'NOT_OWNER' })
        await reopen()
        expect(store.journal.last).toBe(2 ** 40)
        await store.journal.append(2 ** 40 + 1, [bytes('c')])
        await reopen()
        expect(await numbersOf(store)).toEqual([2 ** 40 + 1])
      })

      test('who reads while the journal is truncated sees no gap', async () => {
        await store.journal.append(
          1,
          Array.from({ length: 3_000 }, (_, i) => bytes(`${i + 1}`)),
        )
        const truncation = store.journal.truncate(2_900)
        const reads = Array.from({ length: 20 }, () => numbersOf(store))
        for (const numbers of await Promise.all(reads)) expect(numbers.at(-1)).toBe(3_000)
        await truncation
      })
    })

    describe('table', () => {
      test('a key that was written is read, and one that was not is undefined', async () => {
        await store.table.write([put('k1', 'v1'), put('k2', '')])
        expect(text(await store.table.get(bytes('k1')))).toBe('v1')
        expect(text(await store.table.get(bytes('k2')))).toBe('')
        expect(await store.table.get(bytes('k3'))).toBeUndefined()
        const many = await store.table.getMany([bytes('k2'), bytes('k9'), bytes('k1')])
        expect(many.map(text)).toEqual(['', undefined, 'v1'])
        expect(await store.table.getMany([])).toEqual([])
        await reopen()
        expect(text(await store.table.get(bytes('k1')))).toBe('v1')
      })

      test('changes of one write apply in order', async () => {
        await store.table.write([
          put('a', '1'),
          del('a'),
          put('a', '2'),
          put('b', '1'),
          put('b', '2'),
          del('b'),
          del('c'),
        ])
        expect(text(await store.table.get(bytes('a')))).toBe('2')
        expect(await store.table.get(bytes('b'))).toBeUndefined()
        await store.table.write([])
      })

      test('writes called without waiting apply in the order of their calls', async () => {
        await Promise.all(Array.from({ length: 50 }, (_, i) => store.table.write([put('k', `${i}`)])))
        expect(text(await store.table.get(bytes('k')))).toBe('49')
      })

      test('a scan goes forward or backward within its bounds and its limit', async () => {
        await store.table.write(['b', 'd', 'a', 'c', 'e', 'ca'].map((key) => put(key, key)))
        const scan = async (options: object) => keysOf(await store.table.scan({ ...between('b', 'e'), ...options }))
        expect(await scan({})).toEqual(['b', 'c', 'ca', 'd'])
        expect(await scan({ limit: 2 })).toEqual(['b', 'c'])
        expect(await scan({ limit: 0 })).toEqual([])
        expect(await scan({ reverse: true })).toEqual(['d', 'ca', 'c', 'b'])
        expect(await scan({ reverse: true, limit: 1 })).toEqual(['d'])
        expect(keysOf(await store.table.scan(between('bb', 'c')))).toEqual([])
        expect(keysOf(await store.table.scan(between('0', '1')))).toEqual([])
        expect(keysOf(await store.table.scan({ ...between('x', 'z'), reverse: true }))).toEqual([])
      })

      test('a scan without a limit ends after 1,000 entries', async () => {
        const keys = Array.from({ length: 1_500 }, (_, i) => `k${String(i).padStart(5, '0')}`)
        await store.table.write(keys.toReversed().map((key) => put(key, '')))
        expect(keysOf(await store.table.scan(between('k', 'l')))).toEqual(keys.slice(0, 1_000))
        const backward = await store.table.scan({ ...between('k', 'l'), reverse: true, limit: 1_400 })
        expect(keysOf(backward)).toEqual(keys.toReversed().slice(0, 1_400))
      })

      test('bytes sort as unsigned numbers', async () => {
        const keys = [[1], [1, 0], [1, 0x7f], [1, 0x80], [1, 0xff]].map((key) => Uint8Array.from(key))
        await store.table.write(keys.toReversed().map((key) => ({ key, value: key })))
        const found = await store.table.scan({ gte: Uint8Array.of(1), lt: Uint8Array.of(2) })
        expect(found.map(({ key }) => [...key])).toEqual(keys.map((key) => [...key]))
      })

      test('clear deletes at most its limit, and says how many ranges are done', async () => {
        await store.table.write(['a1', 'b1', 'b2', 'b3', 'c1'].map((key) => put(key, '')))
        expect(await store.table.clear([between('b', 'c')], 2)).toBe(0)
        expect(keysOf(await store.table.scan(between('a', 'z')))).toEqual(['a1', 'b3', 'c1'])
        expect(await store.table.clear([between('b', 'c')], 2)).toBe(1)
        expect(await store.table.clear([between('b', 'c')], 2)).toBe(1)
        await reopen()
        expect(keysOf(await store.table.scan(between('a', 'z')))).toEqual(['a1', 'c1'])
      })

      test('clear deletes from one range after the other, and goes on in the one where it stopped', async () => {
        await store.table.write(['a1', 'b1', 'b2', 'b3', 'c1', 'd1', 'd2'].map((key) => put(key, '')))
        const ranges = [between('b', 'c'), between('x', 'y'), between('d', 'e')]
        expect(await store.table.clear(ranges, 2)).toBe(0)
        expect(keysOf(await store.table.scan(between('a', 'z')))).toEqual(['a1', 'b3', 'c1', 'd1', 'd2'])
        expect(await store.table.clear(ranges, 2)).toBe(2)
        expect(keysOf(await store.table.scan(between('a', 'z')))).toEqual(['a1', 'c1', 'd2'])
        expect(await store.table.clear(ranges.slice(2), 2)).toBe(1)
        expect(await store.table.clear([], 2)).toBe(0)
        expect(keysOf(await store.table.scan(between('a', 'z')))).toEqual(['a1', 'c1'])
      })

      test('clear leaves what lies between its ranges, however many there are', async () => {
        const keys = Array.from({ length: 400 }, (_, i) => `k${String(i).padStart(3, '0')}`)
        await store.table.write(keys.map((key) => put(key, '')))
        let ranges = keys.filter((_, i) => i % 4 === 1).map((key) => between(key, `${key}~`))
        for (let step = 0; ranges.length > 0 && step < 200; step++) {
          ranges = ranges.slice(await store.table.clear(ranges, 30))
        }
        expect(keysOf(await store.table.scan(between('a', 'z')))).toEqual(keys.filter((_, i) => i % 4 !== 1))
      })

      test('a clear that goes on finds what was written behind it meanwhile', async () => {
        await store.table.write(['b1', 'b2', 'b3', 'b4'].map((key) => put(key, '')))
        expect(await store.table.clear([between('b', 'c')], 2)).toBe(0)
        await store.table.write([put('b1', ''), put('b2', '')])
        expect(await store.table.clear([between('b', 'c')], 3)).toBe(0)
        expect(keysOf(await store.table.scan(between('b', 'c')))).toEqual(['b4'])
        await store.table.write([put('b3', '')])
        expect(await store.table.clear([between('b', 'b4')], 3)).toBe(1)
        expect(keysOf(await store.table.scan(between('b', 'c')))).toEqual(['b4'])
        expect(await store.table.clear([between('b', 'c')], 3)).toBe(1)
        expect(keysOf(await store.table.scan(between('b', 'c')))).toEqual([])
      })

      test('clear comes after the writes called before it', async () => {
        const writing = store.table.write([put('b1', '')])
        expect(await store.table.clear([between('b', 'c')], 9)).toBe(1)
        await writing
      })
    })

    describe('a snapshot', () => {
      async function contentOf(snapshot: StoreSnapshot): Promise<unknown> {
        const numbers: number[] = []
        for await (const { number } of snapshot.entries()) numbers.push(number)
        const entries: string[] = []
        for await (const { key, value } of snapshot.iterate(between('a', 'z')))
          entries.push(`${text(key)}=${text(value)}`)
        return [await snapshot.floor(), numbers, entries]
      }

      test('keeps what was there, whatever is written, truncated or cleared later', async () => {
        await store.journal.append(1, ['a', 'b', 'c'].map(bytes))
        await store.journal.truncate(1)
        await store.table.write([put('k1', 'old'), put('k2', 'v')])
        const snapshot = store.snapshot()
        await store.journal.append(4, [bytes('d')])
        await store.journal.truncate(3)
        await store.table.write([put('k1', 'new'), put('k3', 'v')])
        await store.table.clear([between('k2', 'k3')], 9)
        await store.compact()
        expect(await contentOf(snapshot)).toEqual([1, [2, 3], ['k1=old', 'k2=v']])
        const later = store.snapshot()
        expect(await contentOf(later)).toEqual([3, [4], ['k1=new', 'k3=v']])
        await Promise.all([snapshot.close(), later.close()])
      })

      test('reads on where a long table has many pages', async () => {
        const keys = Array.from({ length: 2_500 }, (_, i) => `k${String(i).padStart(5, '0')}`)
        await store.table.write(keys.map((key) => put(key, '')))
        const snapshot = store.snapshot()
        const found: TableEntry[] = []
        for await (const entry of snapshot.iterate(between('k', 'l'))) found.push(entry)
        expect(keysOf(found)).toEqual(keys)
        await snapshot.close()
      })

      test('has in its table what a truncation before it deleted from the journal', async () => {
        // As a flush does: the table first, then the truncation; snapshots are taken all the while.
        let number = 0
        let isDone = false
        const flushing = (async () => {
          for (; number < 200; number++) {
            await store.journal.append(number + 1, [bytes('x')])
            await store.table.write([put('k', `${number + 1}`)])
            await store.journal.truncate(number + 1)
          }
          isDone = true
        })()
        while (!isDone) {
          const snapshot = store.snapshot()
          const [floor, numbers, entries] = (await contentOf(snapshot)) as [number, number[], string[]]
          const flushed = Number(entries[0]?.slice(2) ?? 0)
          expect(floor).toBeLessThanOrEqual(flushed)
          expect(flushed).toBeLessThanOrEqual(numbers.at(-1) ?? floor)
          await snapshot.close()
        }
        await flushing
      })
    })

    test('what was given may be changed afterwards, and so may what was read', async () => {
      const [entry, key, value] = [bytes('entry'), bytes('key'), bytes('value')]
      await store.journal.append(1, [entry])
      await store.table.write([{ key, value }])
      for (const given of [entry, key, value]) given.fill(0)
      for (const { bytes } of await journalOf(store)) bytes.fill(0)
      for (const read of await store.table.scan(between('a', 'z'))) read.value.fill(0)
      ;(await store.table.get(bytes('key')))?.fill(0)
      ;(await store.table.getMany([bytes('key')]))[0]?.fill(0)
      expect(text((await journalOf(store))[0]?.bytes)).toBe('entry')
      expect(text(await store.table.get(bytes('key')))).toBe('value')
    })

    test('compaction changes nothing that can be read', async () => {
      await store.journal.append(1, ['a', 'b', 'c'].map(bytes))
      await store.journal.truncate(2)
      await store.table.write([put('k1', 'v1'), put('k2', 'v2'), del('k1')])
      await Promise.all([store.compact(), store.compact()])
      expect(await numbersOf(store)).toEqual([3])
      await reopen()
      await store.compact()
      expect(await numbersOf(store)).toEqual([3])
      expect(keysOf(await store.table.scan({ gte: Uint8Array.of(1), lt: Uint8Array.of(0xfe) }))).toEqual(['k2'])
    })

    test('close waits for writes under way, can be repeated, and ends the use of the store', async () => {
      const writes = [store.journal.append(1, [bytes('a')]), store.table.write([put('k', 'v')])]
      await Promise.all([store.close(), store.close()])
      await store.close()
      await Promise.all(writes)
      const closed = { code: 'STORE_UNAVAILABLE' }
      await expect(store.journal.append(2, [bytes('b')])).rejects.toMatchObject(closed)
      await expect(store.journal.truncate(1)).rejects.toMatchObject(closed)
      await expect(journalOf(store)).rejects.toMatchObject(closed)
      await expect(store.table.write([put('k', 'w')])).rejects.toMatchObject(closed)
      await expect(store.table.get(bytes('k'))).rejects.toMatchObject(closed)
      await expect(store.table.getMany([bytes('k')])).rejects.toMatchObject(closed)
      await expect(store.table.scan(between('a', 'z'))).rejects.toMatchObject(closed)
      await expect(store.table.clear([between('a', 'z')], 1)).rejects.toMatchObject(closed)
      await expect(store.journal.skipTo(9)).rejects.toMatchObject(closed)
      expect(() => store.snapshot()).toThrow(expect.objectContaining(closed))
      store = await place.open()
      expect(await numbersOf(store)).toEqual([1])
      expect(text(await store.table.get(bytes('k')))).toBe('v')
    })

    test('a place that is open is not opened again, and stays as it is', async () => {
      await store.journal.append(1, [bytes('a')])
      await expect(place.open()).rejects.toMatchObject({ code: 'DATA_DIR_IN_USE' })
      await store.journal.append(2, [bytes('b')])
      await reopen()
      expect(store.journal.last).toBe(2)
    })
  })
}
