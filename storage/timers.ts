/**
 * Stored timers: when each dormant topic must be looked at next. They are written with heads, by the flusher; here they
 * are found when they fall due, and pushed forward.
 */

import { asLitetopicError, type LitetopicError, pack, unpack } from '../protocol/index.ts'
import { numberInKey, timerKey, timersWithin } from './keys.ts'
import { refuse, seal, unseal } from './seal.ts'
import type { Table } from './store.ts'

/** A place in the order of the timers, behind the one of that time and epoch. */
export interface TimerPlace {
  readonly dueMs: number
  readonly epoch: number
}

/** Before all timers of a time and after it. */
export function timersFrom(dueMs: number): TimerPlace {
  return { dueMs, epoch: -1 }
}

export interface StoredTimer extends TimerPlace {
  readonly name: string
  readonly lingerMs: number
  readonly tableUsed: boolean
}

export class DueTimers {
  private readonly table: Table

  constructor(table: Table) {
    this.table = table
  }

  /** When the next timer after that place, by default the first, falls due, as milliseconds since 1970; null when there is none. */
  async next(after: TimerPlace = timersFrom(0)): Promise<number | null> {
    const [entry] = await this.table.scan({ ...timersWithin(after, Number.MAX_SAFE_INTEGER - 1), limit: 1 })
    return entry === undefined ? null : numberInKey(entry.key, 0)
  }

  /**
   * Timers after that place, by default all, that are due by now, the oldest first, and where the last of them lies. LevelDB steps over
   * every one in between that was deleted: who reads many goes on there. One that is damaged is given to `damaged`, and stays; without
   * that, rejects with STORE_CORRUPT.
   */
  async due(
    nowMs: number,
    limit: number,
    after: TimerPlace = timersFrom(0),
    damaged: (error: LitetopicError) => void = refuse,
  ): Promise<{ timers: StoredTimer[]; last: TimerPlace | null }> {
    const timers: StoredTimer[] = []
    let last: TimerPlace | null = null
    for (const { key, value } of await this.table.scan({ ...timersWithin(after, nowMs), limit })) {
      const dueMs = numberInKey(key, 0)
      last = { dueMs, epoch: numberInKey(key, 1) }
      try {
        const packed = unpack(unseal(key, value, 'a timer')) as [string, number, number, boolean]
        const [name, epoch, lingerMs, tableUsed] = packed
        timers.push({ dueMs, epoch, name, lingerMs, tableUsed })
      } catch (error) {
        damaged(asLitetopicError(error))
      }
    }
    return { timers, last }
  }

  /** Gives timers a later time. The new ones are there before the old ones go. */
  async postpone(timers: readonly (StoredTimer & { laterMs: number })[]): Promise<void> {
    await this.table.write(
      timers.flatMap(({ dueMs, laterMs, epoch, name, lingerMs, tableUsed }) => {
        const key = timerKey(laterMs, epoch)
        const later = { key, value: seal(key, pack([name, epoch, lingerMs, tableUsed])) }
        return laterMs === dueMs ? [later] : [later, { key: timerKey(dueMs, epoch), value: null }]
      }),
    )
  }

  /** Forgets timers whose topics are gone. */
  async drop(timers: readonly StoredTimer[]): Promise<void> {
    await this.table.write(timers.map(({ dueMs, epoch }) => ({ key: timerKey(dueMs, epoch), value: null })))
  }
}
