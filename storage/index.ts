/** Where topics are kept: stores (LevelDB, memory) and, on any of them, a shard of topics. */

export type { ShardAppend } from './commit-log.ts'
export { addBranch, beginHistory, copySnapshot } from './copy.ts'
export { openLevelStore } from './leveldb/level-store.ts'
export { beginDirectory, endDirectory } from './leveldb/new-directory.ts'
export { repairedCopy } from './leveldb/repair.ts'
export { forkPoint, ownerOf, sharedWith } from './lineage.ts'
export type { Loaded } from './loader.ts'
export { contextNames, findCheckpoint, findContext, findRecordId, findStream, listCheckpoints } from './lookups.ts'
export { MemoryDisk, openMemoryStore } from './memory/memory-store.ts'
export type { Link, TopicExtra, TopicPolicy } from './operations.ts'
export { type Parts, recentUpload, type StoredUpload } from './parts.ts'
export { SEAL_BYTES } from './seal.ts'
export { Shard } from './shard.ts'
export type { ShardListener } from './shard-listener.ts'
export { EMPTY, extended, without } from './short-list.ts'
export { SLAB_BYTES } from './slabs.ts'
export {
  type Durability,
  INDEX,
  type Journal,
  type JournalEntry,
  STORE_PARTS,
  type Store,
  type StorePart,
  type StoreSnapshot,
  type Table,
  type TableChange,
  type TableEntry,
  type TableScan,
} from './store.ts'
export { hasLarge, storedBytes } from './stored-bytes.ts'
export { streamsAt } from './streams-at.ts'
export { type StoredTimer, type TimerPlace, timersFrom } from './timers.ts'
export { FORK_BYTES } from './topic-changes.ts'
export type { Branch, CheckpointEntry, ContextVersion, ProducerState, StreamState, TopicState } from './topic-state.ts'
export type { Damage, Report, VerifyOptions } from './verify/damage.ts'
export { type Salvaged, type SalvageOptions, type SalvageReport, salvageStore } from './verify/salvage.ts'
export { verifyStore } from './verify/verify.ts'
export {
  linkChange,
  readSecrets,
  readWakers,
  removeWaker,
  type StoredLink,
  type StoredWaker,
  type WakerConfig,
  type WakerState,
  wakerChange,
  writeSecrets,
} from './wakers.ts'
