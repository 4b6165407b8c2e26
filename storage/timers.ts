/**
 * Stored timers: when each dormant topic must be looked at next. They are written with heads, by the flusher; here they
 * are found when they fall due, and pushed forward.
 */

import { pack, unpack } from '../protocol/index.ts'
import { numberInKey, timerKey, timersUntil } from './keys.ts'
import { seal, unseal } from './seal.ts'
import type { Table } from './store.ts'

export interface StoredTimer {
  readonly dueMs: number
  readonly epoch: number
  readonly name: string
  readonly lingerMs: number
  readonly tableUsed: boolean
}

export class DueTimers {
  private readonly table: Table

  constructor(table: Table) {
    this.table = table
  }

  /** When the next timer falls due, as milliseconds since 1970; null when there is none. */
  async next(): Promise<number | null> {
    const [entry] = await this.table.scan({ ...timersUntil(Number.MAX_SAFE_INTEGER - 1), limit: 1 })
    return entry === undefined ? null : numberInKey(entry.key, 0)
  }

  /** Timers due by now, the oldest first. */
  async due(nowMs: number, limit: number): Promise<StoredTimer[]> {
    const entries = await this.table.scan({ ...timersUntil(nowMs), limit })
    return entries.map(({ key, value }) => {
      const packed = unpack(unseal(key, value, 'a timer')) as [string, number, number, boolean]
      const [name, epoch, lingerMs, tableUsed] = packed
      return { dueMs: numberInKey(key, 0), epoch, name, lingerMs, tableUsed }
    })
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

  /** Forgets a timer whose topic is gone. */
  async drop(timer: StoredTimer): Promise<void> {
    await this.table.write([{ key: timerKey(timer.dueMs, timer.epoch), value: null }])
  }
}
