/**
 * Lets in what is within the bounds of every scope, or throws LIMIT_EXCEEDED or RATE_LIMITED, of the first one that is over,
 * and counts nothing.
 */

import { ByteReader, RecordWalker } from '../protocol/index.ts'
import type { Scope } from './scopes.ts'

export function admitAttachment(scopes: readonly Scope[]): void {
  for (const scope of scopes) scope.check('attachments', scope.attachments + 1)
}

export function admitTopic(scopes: readonly Scope[]): void {
  for (const scope of scopes) if (scope.stored !== null) scope.check('topics', (scope.stored.topics ?? 0) + 1)
}

/** Counts what was admitted. */
export function enter(scopes: readonly Scope[], what: 'attachments' | 'subscriptions'): void {
  for (const scope of scopes) scope[what]++
}

export function leave(scopes: readonly Scope[], what: 'attachments' | 'subscriptions'): void {
  for (const scope of scopes) scope[what]--
}

export function admitSubscription(scopes: readonly Scope[]): void {
  for (const scope of scopes) scope.check('subscriptions', scope.subscriptions + 1)
}

/** The size of each record in `bytes[from, to)`. One may be as large as all are together; only then is it looked at. */
export function admitMessages(scopes: readonly Scope[], bytes: Uint8Array, from: number, to: number): void {
  let largest = -1
  for (const scope of scopes) {
    if (to - from <= scope.bounds.messageBytes) continue
    if (largest < 0) largest = largestData(bytes, from, to)
    scope.check('messageBytes', largest)
  }
}

/** What a scope would store. */
export function admitStored(scopes: readonly Scope[], bytes: number): void {
  for (const scope of scopes) if (scope.stored !== null) scope.check('bytes', scope.stored.bytes + bytes)
}

/** What a scope would store if an upload grew to so many bytes, of which `charged` are counted already. */
export function admitUpload(scopes: readonly Scope[], bytes: number, charged: number): void {
  for (const scope of scopes) {
    if (scope.stored !== null) scope.check('bytes', scope.stored.bytes + scope.uploading - charged + bytes)
  }
}

/** Counts bytes of an upload, or, if negative, takes them back. */
export function charge(scopes: readonly Scope[], bytes: number): void {
  for (const scope of scopes) scope.uploading += bytes
}

/** Who is bound. */
interface Bound {
  readonly scopes: readonly Scope[]
}

/** Takes so many records and bytes from the rates. To be called last: what is taken is not given back. */
export function admitRate(who: Bound, records: number, bytes: number, nowMs: number): void {
  checkRate(who, records, bytes, nowMs)
  for (const scope of who.scopes) {
    scope.records?.take(who, records)
    scope.bytes?.take(who, bytes)
  }
}

/** What begins a topic: to be called before that is made, for who has no attachment yet. Takes nothing, and keeps no turn. */
export function admitFirst(scopes: readonly Scope[], records: Uint8Array, count: number, nowMs: number): void {
  const who = { scopes }
  admitMessages(scopes, records, 0, records.length)
  admitStored(scopes, records.length)
  try {
    checkRate(who, count, records.length, nowMs)
  } finally {
    forgetTurns(who)
  }
}

/** Is it the turn of `who` for so much? Else it has one from now on. */
function checkRate(who: Bound, records: number, bytes: number, nowMs: number): void {
  const { scopes } = who
  for (const scope of scopes) {
    const recordsMs = scope.records?.waitMs(who, records, nowMs) ?? 0
    const bytesMs = scope.bytes?.waitMs(who, bytes, nowMs) ?? 0
    if (scope.records !== null && recordsMs > 0 && recordsMs >= bytesMs) {
      throw scope.rated('recordsPerSecond', scope.records.with(records), recordsMs)
    }
    if (scope.bytes !== null && bytesMs > 0) throw scope.rated('bytesPerSecond', scope.bytes.with(bytes), bytesMs)
  }
}

/** It does not come back for what it was refused. */
export function forgetTurns(who: Bound): void {
  for (const { records, bytes } of who.scopes) {
    records?.forget(who)
    bytes?.forget(who)
  }
}

function largestData(bytes: Uint8Array, from: number, to: number): number {
  const walker = new RecordWalker(new ByteReader(bytes, from, to))
  let largest = 0
  while (walker.next()) largest = Math.max(largest, walker.dataTo - walker.dataFrom)
  return largest
}
