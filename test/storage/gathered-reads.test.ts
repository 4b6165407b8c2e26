/** Single reads of the table: gathered while others are under way, each answered for itself. */

import { expect, test } from 'vitest'
import { GatheredReads } from '../../storage/leveldb/gathered-reads.ts'
import type { LevelHandle } from '../../storage/leveldb/level-handle.ts'

const key = (number: number): Uint8Array => Uint8Array.of(number)

/** Answers a key with itself, or not at all if it is odd; reads of key 13 fail, whatever else is read with it. */
function handle(): { reads: number[]; db: LevelHandle } {
  const reads: number[] = []
  const stored = (asked: Uint8Array): Uint8Array | undefined => {
    if (asked[0] === 13) throw new Error('damaged')
    return (asked[0] as number) % 2 === 0 ? asked : undefined
  }
  const getMany = async (keys: readonly Uint8Array[]) => {
    reads.push(keys.length)
    await new Promise((resolve) => setImmediate(resolve))
    return keys.map(stored)
  }
  const get = async (asked: Uint8Array) => stored(asked)
  return { reads, db: { get, getMany } as unknown as LevelHandle }
}

test('every key gets its own value, and those asked for meanwhile are read together', async () => {
  const { reads, db } = handle()
  const gathered = new GatheredReads(db)
  const keys = Array.from({ length: 10 }, (_, i) => key(i))
  const values = await Promise.all(keys.map((one) => gathered.get(one)))
  expect(values).toEqual(keys.map((one, i) => (i % 2 === 0 ? one : undefined)))
  expect(reads).toEqual([1, 1, 8])
  expect(await gathered.get(key(2))).toEqual(key(2))
  expect(reads).toEqual([1, 1, 8, 1])
})

test('a key that cannot be read fails alone', async () => {
  const gathered = new GatheredReads(handle().db)
  const answers = await Promise.allSettled([10, 11, 12, 13, 14, 15].map((number) => gathered.get(key(number))))
  expect(answers.map(({ status }) => status)).toEqual([
    'fulfilled',
    'fulfilled',
    'fulfilled',
    'rejected',
    'fulfilled',
    'fulfilled',
  ])
})
