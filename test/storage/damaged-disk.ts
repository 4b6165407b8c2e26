/** A store with something in every index and in the journal, for tests that damage it. */

import { createHash } from 'node:crypto'
import { ByteWriter, LIMITS, writeMessage } from '../../protocol/index.ts'
import { garbageMark } from '../../storage/garbage.ts'
import { chunkKey } from '../../storage/keys.ts'
import { MemoryDisk, openMemoryStore } from '../../storage/memory/memory-store.ts'
import { seal } from '../../storage/seal.ts'
import { INDEX, type TableEntry } from '../../storage/store.ts'
import type { TopicState } from '../../storage/topic-state.ts'
import { linkChange, type StoredLink, type StoredWaker, wakerChange } from '../../storage/wakers.ts'
import { Rig, type TestRecord, TIME_MS } from './shard-rig.ts'

export const message = (text: string): TestRecord => ({ kind: 'message', text })

/** One of every kind; 10 records, of which the last is long. */
export const RECORDS: readonly TestRecord[] = [
  { kind: 'message', text: 'a', id: 'id-1' },
  { kind: 'context', op: 'set', name: 'n', text: 'one' },
  { kind: 'context', op: 'append', name: 'n', text: 'two' },
  { kind: 'checkpoint', name: 'c' },
  { kind: 'checkpoint', name: 'c' },
  { kind: 'stream', state: 'open', streamId: 's' },
  { kind: 'stream', state: 'done', streamId: 's' },
  { kind: 'stream', state: 'open', streamId: 'open' },
  message('short'),
  message('x'.repeat(70_000)),
]

/** Uploads a content and appends the message that it is. */
async function appendLarge(rig: Rig, state: TopicState, content: Uint8Array): Promise<void> {
  const upload = { epoch: state.epoch, uploadId: 'large', name: state.name, producerId: 'p', tag: 'bytes' as const }
  const { parts } = rig.shard
  await parts.begin({ ...upload, startedMs: TIME_MS }, () => true)
  for (let at = 0, part = 0; at < content.length; at += LIMITS.partBytes, part++) {
    await parts.write(state.epoch, 'large', part, content.subarray(at, at + LIMITS.partBytes), () => true)
  }
  const out = new ByteWriter(256)
  const sha256 = createHash('sha256').update(content).digest()
  const data = { tag: 'bytes', value: new Uint8Array(0) } as const
  writeMessage(out, data, { parts: { size: content.length, sha256, uploadId: 'large' } })
  const source = out.copy()
  await rig.commit((item) => {
    rig.shard.append(state, {
      slot: -1,
      sequence: 0,
      count: 1,
      effects: true,
      timeMs: TIME_MS,
      source,
      from: 0,
      to: source.length,
      item,
    })
  })
  state.committedTo = state.nextOffset
}

const CONFIG = { pattern: 't', url: 'https://hooks.example.com/', wakeTopic: null, leaseMs: 30_000, description: null }
export const WAKER: StoredWaker = {
  id: 'waker',
  config: { type: 'webhook', ...CONFIG },
  configHash: 'hash',
  createdMs: TIME_MS,
  state: { generation: 7, wakeId: 'w_1', holder: null, failures: 1, retryAtMs: TIME_MS + 1 },
}
export const LINK: StoredLink = { epoch: 4096, acked: 3, explicit: true }

/**
 * Topics `large` (4 records), `small` (2, in its head), `t` (11 of which 3 to 11 are kept, in two chunks, and one more in its
 * head), `journal` (2, only there), `fork` (4, of which 3 are those of a hidden topic `gone`), and one that is being
 * cleared; and a waker with two links.
 */
export async function fullDisk(): Promise<MemoryDisk> {
  const disk = new MemoryDisk()
  const rig = await Rig.open(await openMemoryStore(disk))
  const state = await rig.create('t')
  state.dueMs = TIME_MS + 5_000
  await rig.append(state, [message('first'), ...RECORDS])
  await rig.append(state, [{ kind: 'message', text: 'y'.repeat(500), id: 'id-2' }])
  await rig.trim(state, 3)
  const small = await rig.create('small')
  small.dueMs = TIME_MS + 6_000
  await rig.append(small, [message('a'), message('b')])
  const large = await rig.create('large')
  await rig.append(large, [message('before')])
  await appendLarge(rig, large, new Uint8Array(LIMITS.partBytes + 100).fill(7))
  await rig.append(large, [message('after'), message('last')])
  const gone = await rig.create('gone')
  await rig.append(gone, [message('shared'), { kind: 'context', op: 'set', name: 'm', text: 'old' }, message('too')])
  const fork = await rig.fork(gone, 3, 'fork')
  await rig.append(fork, [message('own')])
  await rig.delete(gone)
  await rig.shard.quiesce()
  await rig.append(state, [message('inline')])
  await rig.shard.quiesce()
  const upload = { epoch: large.epoch, uploadId: 'under-way', name: 'large', producerId: 'p', tag: 'text' as const }
  await rig.shard.parts.begin({ ...upload, startedMs: TIME_MS }, () => true)
  await rig.shard.parts.write(large.epoch, 'under-way', 0, new Uint8Array(LIMITS.partBytes), () => true)
  await rig.shard.store.table.write([
    wakerChange(WAKER),
    linkChange('waker', 't', LINK),
    linkChange('waker', 'u', LINK),
  ])
  const key = chunkKey(99, 4)
  await rig.shard.store.table.write([garbageMark(99), { key, value: seal(key, new Uint8Array(9)) }])
  const journal = await rig.create('journal')
  await rig.append(journal, [message('one'), { kind: 'message', text: 'two', id: 'id' }])
  return disk.copy()
}

export function entriesOf(disk: MemoryDisk): TableEntry[] {
  return disk.table.range({ gte: Buffer.of(0), lt: Buffer.of(0xff) }, false, Number.POSITIVE_INFINITY)
}

export function indexOf(key: Uint8Array): string {
  return Object.entries(INDEX).find(([, byte]) => byte === key[0])?.[0] ?? 'none'
}

export function flip(bytes: Uint8Array, at: number, bit = 0): Uint8Array {
  return bytes.map((byte, i) => (i === at ? byte ^ (1 << bit) : byte))
}
