/**
 * The contract of a store: a journal of numbered commits, and a table of keys beside it. Everything above (heads, chunks,
 * context, timers) is written once, on this. A store is one shard with one owner.
 *
 * It is kept small so that a replicated log with a key-value store beside it fits too: a commit is opaque and carries the
 * number that must be next; changes of the table are applied in order but not as one; deletion is by key or by range of
 * one index; iteration is ordered, and only within one index.
 * `test/storage/store-contract.ts` is the suite that every implementation passes.
 */

/** `fsync`: durable when acknowledged, also across a power cut. `os`: handed to the operating system. */
export type Durability = 'fsync' | 'os'

/** The named indexes of the table. The first byte of a key is the index. */
export const INDEX = {
  info: 0x01,
  head: 0x10,
  chunk: 0x20,
  stream: 0x21,
  recordId: 0x22,
  context: 0x23,
  checkpoint: 0x24,
  checkpointName: 0x25,
  fork: 0x26,
  part: 0x27,
  openStreams: 0x30,
  timer: 0x31,
  garbage: 0x32,
  upload: 0x33,
  usage: 0x34,
  waker: 0x35,
  hidden: 0x36,
  hiddenName: 0x37,
} as const

/** `value: null` deletes the key. */
export interface TableChange {
  readonly key: Uint8Array
  readonly value: Uint8Array | null
}

export interface TableEntry {
  readonly key: Uint8Array
  readonly value: Uint8Array
}

/** Keys from `gte` to before `lt`, which lie in the same index. */
export interface TableRange {
  readonly gte: Uint8Array
  readonly lt: Uint8Array
}

export interface TableScan extends TableRange {
  readonly reverse?: boolean
  /** At most so many entries; default 1,000. */
  readonly limit?: number
}

export interface JournalEntry {
  readonly number: number
  readonly bytes: Uint8Array
}

export interface Journal {
  /** Number of the newest commit; 0 before the first. */
  readonly last: number
  /**
   * Appends entries numbered from `first`; resolves when all are durable. `first` must be `last + 1`, or it rejects with
   * NOT_OWNER and stores nothing; it may be called before earlier appends have resolved. An entry is at most
   * LIMITS.journalEntryBytes, or it rejects with LIMIT_EXCEEDED and the store stays usable. After any other failure it
   * rejects with STORE_UNAVAILABLE, and so does every later write until the store is opened anew.
   */
  append(first: number, entries: readonly Uint8Array[]): Promise<void>
  /** The entries still there, oldest first. Rejects with STORE_CORRUPT at a gap in the numbers. */
  entries(): AsyncIterable<JournalEntry>
  /**
   * Goes on behind `number`, which is beyond `last`: for the copy of a store, whose numbers must not be those that the
   * original goes on with. Durable when it resolves. Rejects with NOT_OWNER unless the journal has no entries.
   */
  skipTo(number: number): Promise<void>
  /** Forgets the entries up to and including `number`. `last` stays. Not durable before the next write that is. */
  truncate(number: number): Promise<void>
}

export interface Table {
  get(key: Uint8Array): Promise<Uint8Array | undefined>
  getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]>
  /** Applies the changes in order; resolves when they, and every earlier write, are durable (unless durability is `os`). */
  write(changes: readonly TableChange[]): Promise<void>
  /** One page of entries in key order. */
  scan(scan: TableScan): Promise<TableEntry[]>
  /**
   * Deletes at most `limit` keys of the ranges, one range after the other; durable when it resolves, with how many of the ranges,
   * from the first, have none left. To be called again with the others, until there are none: a store may go on where it stopped.
   */
  clear(ranges: readonly TableRange[], limit: number): Promise<number>
}

/**
 * Journal and table as they were at one moment, whatever is written since: replaying these entries on this table gives
 * the state of the newest of them. It costs memory or disk until it is closed.
 */
export interface StoreSnapshot {
  /** Number up to which the journal was truncated. */
  floor(): Promise<number>
  /** The entries behind the floor, oldest first. Rejects with STORE_CORRUPT at a gap in the numbers. */
  entries(): AsyncIterable<JournalEntry>
  /** Entries of the table in key order, however many. */
  iterate(range: TableRange): AsyncIterable<TableEntry>
  close(): Promise<void>
}

/** What a store has on disk: commits, what they led to, and the content of large messages. */
export const STORE_PARTS = ['journal', 'table', 'parts'] as const
export type StorePart = (typeof STORE_PARTS)[number]

export interface Store {
  readonly durability: Durability
  /** Where the data is, for people; `memory` for the memory store. */
  readonly location: string
  readonly journal: Journal
  readonly table: Table
  /**
   * Taken at once, table first: what a truncation has deleted by then is in the table. Throws STORE_UNAVAILABLE once the
   * store is closed. To be closed before the store is.
   */
  snapshot(): StoreSnapshot
  /** Bytes on disk, of all or of one part, as the file system counts them; 0 for memory. */
  diskBytes(part?: StorePart): Promise<number>
  /** Gives space of deleted data back, if there is room to do it. */
  compact(): Promise<void>
  /**
   * After a failed write, also when it is closed: would a store that is opened anew write again? Touches nothing that is
   * stored. Rejects with STORE_UNAVAILABLE if not.
   */
  probe(): Promise<void>
  /** Idempotent. Waits for writes under way. */
  close(): Promise<void>
}
