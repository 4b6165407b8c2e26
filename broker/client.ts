/**
 * A connected client as operations see it, whatever transport it speaks: what can be said to it. Nothing here waits; a
 * transport batches what it is told and sends it when the loop turns.
 */

import type { LitetopicError } from '../protocol/index.ts'
import type { Identity } from './access/identity.ts'

export type NoticeEvent = 'deleted' | 'reclaimed' | 'trimmed' | 'stopped' | 'fenced'

export interface NoticeFacts {
  readonly streamId?: string
  readonly fence?: number
  readonly firstOffset?: number
  readonly reason?: string | null
}

/** A message that many clients are sent alike. */
export interface SharedMessage {
  readonly bytes: Uint8Array
  /** What a transport made of it for the first of them. */
  wire: Uint8Array | null
}

/** Batches back to back that many readers are sent alike. */
export interface SharedBatches {
  readonly flags: number
  readonly bytes: Uint8Array
  /** Where each begins, and where the last one ends. */
  readonly starts: readonly number[]
  readonly size: number
  /** The offset behind the last of them. */
  readonly next: number
  /** What a transport made of them for the first reader of its kind: by the number of the subscription, or how it is encoded. */
  readonly encoded: Map<number | string, SharedMessage>
}

export interface Client {
  /** Who it is, and what it may do. Its principal is written into what it appends. */
  readonly identity: Identity
  /** Where it comes from, for the audit log. */
  readonly address: string
  /** True while the transport holds more than it should: subscriptions then read from storage later. */
  readonly clogged: boolean
  /** An operation of this client waits, with so many bytes; beyond a bound nothing more is read from it. */
  begun(bytes: number): void
  /** It waits no more. */
  ended(bytes: number): void
  /** `repeat`: it was stored before. */
  ack(handle: number, producerEpoch: number, sequence: number, base: number, repeat: boolean): void
  refuse(handle: number, producerEpoch: number, sequence: number, error: LitetopicError): void
  /** Sends the batch in `bytes[from, to)`, which it copies at once. */
  deliver(subscription: number, flags: number, bytes: Uint8Array, from: number, to: number): void
  /** Sends all of the batches. */
  deliverShared(subscription: number, batches: SharedBatches): void
  endSubscription(subscription: number, error: LitetopicError): void
  notice(handle: number, event: NoticeEvent, facts: NoticeFacts): void
  /** It may send so many more parts of an upload; 0 takes grants back. */
  grantParts(handle: number, uploadId: string, parts: number): void
  /** Ends the connection at once. */
  cut(): void
  /** Calls back once when the client is not clogged any more. */
  whenUnclogged(resume: () => void): void
}
