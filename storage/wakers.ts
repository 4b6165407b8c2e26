/**
 * Wakers, which is what Durable Streams subscriptions are called here: whom to wake when a topic has records that he has not
 * acknowledged. Each has a key, and behind it one for each topic that it is linked to. They are written directly to the table,
 * not by the journal: nothing of a topic depends on them. See FORMAT.md, Wakers.
 */

import { asLitetopicError, LitetopicError, pack, unpack } from '../protocol/index.ts'
import { clearAll } from './clear-all.ts'
import { indexRange, wakerKey, wakerOfKey, wakerRange } from './keys.ts'
import { seal, unseal } from './seal.ts'
import { INDEX, type Table, type TableChange } from './store.ts'

const PAGE = 1000

/** What whoever made it configured; the url only of a webhook, the wake topic only of one that is pulled. */
export interface WakerConfig {
  readonly type: 'webhook' | 'pull-wake'
  readonly pattern: string | null
  readonly url: string | null
  readonly wakeTopic: string | null
  readonly leaseMs: number
  readonly description: string | null
}

/** What changes with each wake. */
export interface WakerState {
  /** Of the newest wake. Never used again. */
  readonly generation: number
  /** The wake under way. */
  readonly wakeId: string | null
  /** Who has claimed it. */
  readonly holder: string | null
  /** Attempts to tell of it that have failed, one behind the other, and the wall time of the next one. */
  readonly failures: number
  readonly retryAtMs: number
}

export interface StoredWaker {
  readonly id: string
  readonly config: WakerConfig
  /** Of the configuration as it was given, with its topics. */
  readonly configHash: string
  readonly createdMs: number
  readonly state: WakerState
}

/**
 * Of one topic: how far it has been acknowledged, in which of its epochs, and whether it is linked by its name or by the pattern.
 * Epoch 0 is that of no topic.
 */
export interface StoredLink {
  readonly epoch: number
  readonly acked: number
  readonly explicit: boolean
}

type PackedWaker = [
  ...[type: WakerConfig['type'], pattern: string | null, url: string | null, wakeTopic: string | null],
  ...[leaseMs: number, description: string | null, configHash: string, createdMs: number],
  ...[generation: number, wakeId: string | null, holder: string | null, failures: number, retryAtMs: number],
]
type PackedLink = [epoch: number, acked: number, explicit: boolean]

/** Stands where the id of a waker would. */
const SECRETS_KEY = wakerKey('', '')

export function wakerChange({ id, config, configHash, createdMs, state }: StoredWaker): TableChange {
  const key = wakerKey(id, '')
  const packed: PackedWaker = [
    ...([config.type, config.pattern, config.url, config.wakeTopic] as const),
    ...([config.leaseMs, config.description, configHash, createdMs] as const),
    ...([state.generation, state.wakeId, state.holder, state.failures, state.retryAtMs] as const),
  ]
  return { key, value: seal(key, pack(packed)) }
}

/** Stores how far a topic has been acknowledged; null forgets it. */
export function linkChange(id: string, topic: string, link: StoredLink | null): TableChange {
  const key = wakerKey(id, topic)
  if (link === null) return { key, value: null }
  const packed: PackedLink = [link.epoch, link.acked, link.explicit]
  return { key, value: seal(key, pack(packed)) }
}

/** Every waker with its links by topic. What is damaged is given to `damaged`; links of no waker are left out. */
export async function readWakers(
  table: Table,
  damaged: (error: LitetopicError) => void,
): Promise<{ waker: StoredWaker; links: Map<string, StoredLink> }[]> {
  const wakers = new Map<string, { waker: StoredWaker; links: Map<string, StoredLink> }>()
  for await (const { id, topic, key, value } of entries(table)) {
    try {
      const payload = unpack(unseal(key, value, `subscription ${id}`))
      if (topic === '') wakers.set(id, { waker: unpackedWaker(id, payload as PackedWaker), links: new Map() })
      else wakers.get(id)?.links.set(topic, unpackedLink(payload as PackedLink))
    } catch (error) {
      damaged(asLitetopicError(error))
    }
  }
  return [...wakers.values()]
}

/**
 * Deletes all that there is of a waker: first itself, so that links which a crash leaves are of none, and are not read. To be
 * called before one is made, too.
 */
export async function removeWaker(table: Table, id: string): Promise<void> {
  await table.write([{ key: wakerKey(id, ''), value: null }])
  await clearAll(table, [wakerRange(id)], PAGE)
}

/** What wakes are signed with, opaque here; null where there is nothing yet. Rejects with STORE_CORRUPT. */
export async function readSecrets(table: Table): Promise<Uint8Array | null> {
  const value = await table.get(SECRETS_KEY)
  return value === undefined ? null : unseal(SECRETS_KEY, value, 'the keys that wakes are signed with')
}

export function writeSecrets(table: Table, secrets: Uint8Array): Promise<void> {
  return table.write([{ key: SECRETS_KEY, value: seal(SECRETS_KEY, secrets) }])
}

/** Throws what is wrong with an entry of the index. */
export function checkWakerEntry(key: Uint8Array, payload: Uint8Array): void {
  const { id, topic } = wakerOfKey(key)
  if (id === '') return
  const packed = unpack(payload)
  const fields = topic === '' ? 13 : 3
  if (!Array.isArray(packed) || packed.length !== fields)
    throw new LitetopicError('STORE_CORRUPT', `an entry of ${fields} fields has others`)
}

async function* entries(
  table: Table,
): AsyncGenerator<{ id: string; topic: string; key: Uint8Array; value: Uint8Array }> {
  for (let { gte, lt } = indexRange(INDEX.waker); ; ) {
    const page = await table.scan({ gte, lt, limit: PAGE })
    for (const { key, value } of page) {
      gte = Buffer.concat([key, Buffer.of(0)])
      const { id, topic } = wakerOfKey(key)
      if (id !== '') yield { id, topic, key, value }
    }
    if (page.length < PAGE) return
  }
}

function unpackedWaker(id: string, packed: PackedWaker): StoredWaker {
  const [type, pattern, url, wakeTopic, leaseMs, description, configHash, createdMs] = packed
  const [generation, wakeId, holder, failures, retryAtMs] = packed.slice(8) as [
    ...[number, string | null, string | null, number, number],
  ]
  return {
    id,
    config: { type, pattern, url, wakeTopic, leaseMs, description },
    configHash,
    createdMs,
    state: { generation, wakeId, holder, failures, retryAtMs },
  }
}

function unpackedLink([epoch, acked, explicit]: PackedLink): StoredLink {
  return { epoch, acked, explicit }
}
