/**
 * Memory for parts of large messages, as slots of one part each. Who needs one waits in turn, however many wait, and no
 * client has more than its share. One that is given and not used holds up the others: after a while its taker is told.
 */

import { LIMITS } from '../protocol/index.ts'
import type { Client } from './client.ts'
import type { Clock } from './clock.ts'

export interface SlotTaker {
  readonly client: Client
  /** How long it may keep a slot that it does not use while others wait. */
  readonly patienceMs: number
  /** It has a slot, to be released; it may ask for another one at once. */
  given(slot: Slot): void
  /** Others wait, and the slot has not been used for `patienceMs`: it must be released now. */
  late(slot: Slot): void
}

export class Slot {
  readonly taker: SlotTaker
  readonly client: Client
  readonly sinceMs: number
  /** What it was given for has come: it will be released by itself. */
  used = false

  constructor(taker: SlotTaker, sinceMs: number) {
    this.taker = taker
    this.client = taker.client
    this.sinceMs = sinceMs
  }
}

export class PartSlots {
  private readonly clock: Clock
  private readonly perClient: number
  private free: number = Math.floor(LIMITS.partMemoryBytes / LIMITS.partBytes)
  /** In the order in which they came, with the monotonic time of that; and in the order in which they were given. */
  private readonly waiting = new Map<SlotTaker, number>()
  private readonly held = new Set<Slot>()
  private readonly byClient = new Map<Client, number>()
  private cancelWatch: (() => void) | null = null

  constructor(clock: Clock, perClient: number) {
    this.clock = clock
    this.perClient = perClient
  }

  /** Gives the taker a slot in its turn, at once if there is one to spare. One that waits already waits once. */
  ask(taker: SlotTaker): void {
    if (!this.waiting.has(taker)) this.waiting.set(taker, this.clock.monotonicMs())
    this.serve()
  }

  /** It does not wait any more. */
  forget(taker: SlotTaker): void {
    this.waiting.delete(taker)
  }

  /** A slot out of turn, if one is free; else null. */
  take(taker: SlotTaker): Slot | null {
    if (this.free === 0) return null
    const slot = new Slot(taker, this.clock.monotonicMs())
    this.free--
    this.held.add(slot)
    this.byClient.set(slot.client, (this.byClient.get(slot.client) ?? 0) + 1)
    return slot
  }

  release(slot: Slot): void {
    if (!this.held.delete(slot)) return
    this.free++
    const left = (this.byClient.get(slot.client) ?? 1) - 1
    if (left > 0) this.byClient.set(slot.client, left)
    else this.byClient.delete(slot.client)
    this.serve()
  }

  stop(): void {
    this.waiting.clear()
    this.cancelWatch?.()
    this.cancelWatch = null
  }

  private serve(): void {
    // Who asks again while it is given one comes last, and is met again by this loop.
    for (const taker of this.waiting.keys()) {
      if (this.free === 0) break
      if ((this.byClient.get(taker.client) ?? 0) >= this.perClient) continue
      this.waiting.delete(taker)
      const slot = this.take(taker)
      if (slot !== null) taker.given(slot)
    }
    this.watch()
  }

  /** While somebody waits: looks again when that and the oldest slot that is not used have lasted long enough. */
  private watch(): void {
    if (this.waiting.size === 0 || this.cancelWatch !== null) return
    const late = this.nextLate()
    if (late === null) return
    const delay = late.dueMs - this.clock.monotonicMs()
    this.cancelWatch = this.clock.after(Math.max(delay, 0), () => {
      this.cancelWatch = null
      this.look()
    })
  }

  private look(): void {
    const now = this.clock.monotonicMs()
    for (let late = this.nextLate(); late !== null && late.dueMs <= now; late = this.nextLate()) {
      // Who loses one waits then, too, but has not waited long.
      late.slot.taker.late(late.slot)
      this.release(late.slot)
    }
    this.watch()
  }

  /** The unused slot that is to be taken back first; null while nobody waits, or all are in use. */
  private nextLate(): { slot: Slot; dueMs: number } | null {
    const [waitingSince] = this.waiting.values()
    if (waitingSince === undefined) return null
    let next: { slot: Slot; dueMs: number } | null = null
    for (const slot of this.held) {
      const dueMs = Math.max(waitingSince, slot.sinceMs) + slot.taker.patienceMs
      if (!slot.used && (next === null || dueMs < next.dueMs)) next = { slot, dueMs }
    }
    return next
  }
}
