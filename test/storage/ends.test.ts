/** That a topic is closed, when it ends, and what it has beside its log: kept by flushes, crashes, copies and salvage. */

import { expect, test } from 'vitest'
import { beginHistory, copySnapshot } from '../../storage/copy.ts'
import { chunkRange } from '../../storage/keys.ts'
import { MemoryDisk, openMemoryStore } from '../../storage/memory/memory-store.ts'
import { salvageStore } from '../../storage/verify/salvage.ts'
import { verifyStore } from '../../storage/verify/verify.ts'
import { flip } from './damaged-disk.ts'
import { Rig, TIME_MS } from './shard-rig.ts'

const POLICY = { lingerMs: 'forever', ttlMs: 60_000, expiresAtMs: TIME_MS + 1 } as const
const EXTRA = { principal: 'me', contentType: 'text/plain', streamSeq: 'b' }

/** Closed topics with all that there is: one in the table, with chunks, one in the journal only. */
async function disk(): Promise<MemoryDisk> {
  const made = new MemoryDisk()
  const rig = await Rig.open(await openMemoryStore(made))
  const { shard } = rig
  for (const name of ['stored', 'journalled']) {
    const { principal, contentType } = EXTRA
    const state = shard.create(name, TIME_MS, POLICY, null, { principal, contentType })
    await rig.append(state, [{ kind: 'message', text: 'x'.repeat(80_000) }])
    await rig.append(state, [{ kind: 'message', text: 'y'.repeat(80_000) }])
    shard.setProducer(state, 0, 'p', 3, TIME_MS)
    await rig.commit((item) => {
      shard.together(100, () => {
        rig.appendNow(
          state,
          [{ kind: 'message', text: 'last' }],
          {},
          { committed: () => undefined, failed: () => undefined },
        )
        shard.setExtra(state, { streamSeq: 'b' }, null)
        shard.closeTopic(state, 0, 0, 2, TIME_MS, item)
      })
    })
    if (name === 'stored') await rig.flush(state)
  }
  return made.copy()
}

async function expectWhole(copy: MemoryDisk, name: string, records = 3): Promise<void> {
  const store = await openMemoryStore(copy.copy())
  const state = await (await Rig.open(store)).shard.load(name)
  expect(state, name).toMatchObject({ closed: true, closeCommitted: true, policy: POLICY, extra: EXTRA })
  expect([state?.nextOffset, state?.committedTo]).toEqual([records, records])
  // A copy that was cut keeps no producers.
  if (records === 3) expect(state?.producers).toMatchObject([{ id: 'p', epoch: 3, sequence: 0, bases: [2] }])
  const { damages } = await verifyStore(await openMemoryStore(copy.copy()))
  expect(damages).toEqual([])
}

test('a start finds it, in the table and in the journal', async () => {
  const made = await disk()
  for (const name of ['stored', 'journalled']) await expectWhole(made, name)
})

test('a copy has it, and remembers how far it is the same as its original', async () => {
  const source = await openMemoryStore(await disk())
  const made = new MemoryDisk()
  const target = await openMemoryStore(made)
  await copySnapshot(source.snapshot(), target, { piece: async () => undefined })
  await beginHistory(target)
  for (const name of ['stored', 'journalled']) await expectWhole(made, name)
})

test('a salvage keeps it, also of a topic that is cut', async () => {
  const made = await disk()
  const store = await openMemoryStore(made)
  const epoch = (await (await Rig.open(store)).shard.load('stored'))?.epoch as number
  const [, second] = await store.table.scan({ ...chunkRange(epoch, 0), limit: 9 })
  await store.close()
  const { key, value } = second as { key: Uint8Array; value: Uint8Array }
  made.table.set(key, flip(value, value.length - 1))
  const copy = new MemoryDisk()
  const target = await openMemoryStore(copy)
  await salvageStore(await openMemoryStore(made), target, { salvaged: () => undefined })
  await target.close()
  await expectWhole(copy, 'stored', 1)
  await expectWhole(copy, 'journalled')
})
