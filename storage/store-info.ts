/**
 * The store info: the identity of the data directory's history. It is renewed when history may have been lost: here, when
 * a store that does not fsync was not closed and the system has been restarted since, as after a power cut. A process that
 * was killed loses nothing, because the operating system has what it was handed.
 */

import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { LitetopicError, pack, unpack } from '../protocol/index.ts'
import { seal, unseal } from './seal.ts'
import { INDEX, type Store } from './store.ts'

export const INFO_FORMAT = 1

const INFO_KEY = Buffer.of(INDEX.info)
/** A boot that cannot be told from another one. */
const UNKNOWN_BOOT = 'unknown'

/** Ancestors are the earlier incarnations, oldest first. `openSince` is the boot in which a store without fsync was opened. */
type PackedInfo = [format: number, incarnation: string, ancestors: string[], openSince: string | null]

export interface StoreInfo {
  readonly incarnation: string
  readonly ancestors: readonly string[]
}

/** Reads the info, writes the first one, or renews it once `renewing` has resolved. Rejects with STORE_CORRUPT or DATA_DIR_VERSION. */
export async function openInfo(
  store: Store,
  boot: () => Promise<string> = bootId,
  renewing: () => Promise<void> = async () => undefined,
): Promise<StoreInfo> {
  const stored = await readInfo(store)
  const openSince = store.durability === 'os' ? await boot() : null
  const [, known, before = [], openedIn = null] = stored ?? [INFO_FORMAT, newIncarnation()]
  const isRenewed = openedIn !== null && (openedIn === UNKNOWN_BOOT || openedIn !== (openSince ?? (await boot())))
  const incarnation = isRenewed ? newIncarnation() : known
  const ancestors = isRenewed ? [...before, known] : before
  if (isRenewed) await renewing()
  if (stored === null || isRenewed || openedIn !== openSince) {
    await writeInfo(store, [INFO_FORMAT, incarnation, ancestors, openSince])
  }
  return { incarnation, ancestors }
}

/** Begins a new history. The one before, by default the store's own, becomes the newest ancestor; null if it is not known. */
export async function renewInfo(store: Store, before?: StoreInfo | null): Promise<StoreInfo> {
  const known = before === undefined ? await storedInfo(store) : before
  const ancestors = known === null ? [] : [...known.ancestors, known.incarnation]
  const incarnation = newIncarnation()
  await writeInfo(store, [INFO_FORMAT, incarnation, ancestors, null])
  return { incarnation, ancestors }
}

/** The identity as it is stored; null in a store that was never opened. Rejects with STORE_CORRUPT or DATA_DIR_VERSION. */
export async function storedInfo(store: Store): Promise<StoreInfo | null> {
  const stored = await readInfo(store)
  return stored === null ? null : { incarnation: stored[1], ancestors: stored[2] }
}

/** Notes that the store was closed in good order. */
export async function closeInfo(store: Store, { incarnation, ancestors }: StoreInfo): Promise<void> {
  if (store.durability === 'os') await writeInfo(store, [INFO_FORMAT, incarnation, [...ancestors], null])
}

async function readInfo(store: Store): Promise<PackedInfo | null> {
  const stored = await store.table.get(INFO_KEY)
  if (stored === undefined) {
    // It is written before the first commit.
    if (store.journal.last > 0) throw new LitetopicError('STORE_CORRUPT', 'the store info is missing')
    return null
  }
  const info = unpack(unseal(INFO_KEY, stored, 'the store info')) as PackedInfo
  if (info[0] === INFO_FORMAT) return info
  throw new LitetopicError('DATA_DIR_VERSION', `the store info has format ${info[0]}, unknown here`, {
    format: info[0],
  })
}

function writeInfo(store: Store, info: PackedInfo): Promise<void> {
  return store.table.write([{ key: INFO_KEY, value: seal(INFO_KEY, pack(info)) }])
}

function newIncarnation(): string {
  return randomBytes(6).toString('hex')
}

/** Identity of the system's present run, where the system tells. */
async function bootId(): Promise<string> {
  try {
    return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
  } catch {
    // Other systems do not tell: every unclean stop is then taken for a power cut.
    return UNKNOWN_BOOT
  }
}
