/** What a check of a store finds, and how it is told. */

import { asLitetopicError, LIMITS, LitetopicError } from '../../protocol/index.ts'
import type { INDEX } from '../store.ts'

/** Offsets from `from` to before `to`; `to` is null where the end is not known. */
export interface OffsetRange {
  readonly from: number
  readonly to: number | null
}

export interface Damage {
  /** The index of the table, or the journal, in which it is. */
  readonly unit: keyof typeof INDEX | 'journal' | 'table'
  /** The topic it concerns; null where there is none, or it is not known. */
  readonly topic: string | null
  /** The records it concerns. */
  readonly offsets: OffsetRange | null
  readonly what: string
  /** What cannot be had any more because of it. */
  readonly lost: string
}

export interface Report {
  /** The first LIMITS.damagesListed of them. */
  readonly damages: readonly Damage[]
  readonly damageCount: number
  readonly topics: number
  /** Records that are kept and can be read, and the bytes of their batches. */
  readonly records: number
  readonly bytes: number
  /** Entries of the journal. */
  readonly commits: number
}

export interface VerifyOptions {
  /** Told of each damage when it is found. */
  readonly found?: (damage: Damage) => void
  /** Told, after each topic, how many topics and records have been looked at. */
  readonly progress?: (topics: number, records: number) => void
}

/** Gathers what is found, within a bound. */
export class Findings {
  readonly damages: Damage[] = []
  damageCount = 0
  topics = 0
  records = 0
  bytes = 0
  commits = 0
  private readonly options: VerifyOptions

  constructor(options: VerifyOptions) {
    this.options = options
  }

  add(damage: Damage): void {
    this.damageCount++
    if (this.damages.length < LIMITS.damagesListed) this.damages.push(damage)
    this.options.found?.(damage)
  }

  topicDone(): void {
    this.topics++
    this.options.progress?.(this.topics, this.records)
  }

  report(): Report {
    const { damages, damageCount, topics, records, bytes, commits } = this
    return { damages, damageCount, topics, records, bytes, commits }
  }
}

/**
 * What is wrong, from the error that reading something stored has thrown. Rethrows what says nothing of the data: that the
 * store cannot be read, or that a later version wrote it.
 */
export function reasonOf(error: unknown): string {
  const { code, message } = asLitetopicError(error)
  if (code === 'STORE_UNAVAILABLE' || code === 'DATA_DIR_VERSION') throw error
  return message
}

/** The reason why `read` throws, or null. */
export function faultOf(read: () => void): string | null {
  try {
    read()
    return null
  } catch (error) {
    return reasonOf(error)
  }
}

/** Throws STORE_CORRUPT unless the condition holds. */
export function must(condition: boolean, what: string): asserts condition {
  if (!condition) throw new LitetopicError('STORE_CORRUPT', what)
}

export function plural(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`
}
