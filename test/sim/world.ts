/**
 * Virtual time. What is to happen waits in one queue and happens in its order; in between, the event loop turns as often as it
 * takes for what runs at once to be done. There is no real time and no I/O here, so the same calls bring the same order.
 */

import type { Clock as BrokerClock } from '../../broker/index.ts'
import type { Clock as ClientClock } from '../../client/index.ts'
import { Random } from './random.ts'
import { Trace } from './trace.ts'

/** Turns of the event loop after each event. Work that takes more goes on behind the next event. */
const TURNS = 3
const START_WALL_MS = 1_750_000_000_000

interface Event {
  readonly atMs: number
  readonly order: number
  run: (() => void) | null
}

/** A broken promise of the product, or of the simulation itself. */
export class Violation extends Error {}

export class World {
  readonly seed: number
  readonly trace = new Trace()
  nowMs = 0
  /** How far the wall clock has been set off. */
  wallOffsetMs = 0
  mostWallOffsetMs = 0
  wallWasSet = false
  events = 0
  step = 0
  private readonly queue: Event[] = []
  private order = 0
  private broken: Violation | null = null

  constructor(seed: number) {
    this.seed = seed
  }

  random(label: string): Random {
    return new Random(this.seed, label)
  }

  get wallMs(): number {
    return START_WALL_MS + Math.floor(this.nowMs) + this.wallOffsetMs
  }

  note(line: string): void {
    this.trace.add(`${this.nowMs.toFixed(3)} ${line}`)
  }

  /** The first one counts; the run ends with it. */
  violated(what: string): void {
    this.note(`VIOLATED ${what}`)
    this.broken ??= new Violation(what)
  }

  check(holds: boolean, what: () => string): void {
    if (!holds) this.violated(what())
  }

  /** Runs once after so many milliseconds; the result cancels it. */
  after(ms: number, run: () => void): () => void {
    return this.at(this.nowMs + Math.max(ms, 0), run)
  }

  /** Runs once at this time; what is to run at the same time runs in the order of the calls. */
  at(atMs: number, run: () => void): () => void {
    const event: Event = { atMs, order: this.order++, run }
    push(this.queue, event)
    return () => {
      event.run = null
    }
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.after(ms, resolve))
  }

  /** Lets so much time pass. Throws a Violation. */
  async pass(ms: number): Promise<void> {
    const end = this.nowMs + ms
    await this.passUntil(() => false, ms)
    this.nowMs = end
  }

  /** Lets time pass until the condition holds; false if it did not within so many milliseconds. */
  async passUntil(holds: () => boolean, ms: number): Promise<boolean> {
    const end = this.nowMs + ms
    await turns()
    for (;;) {
      if (this.broken !== null) throw this.broken
      if (holds()) return true
      const next = this.queue[0]
      if (next === undefined || next.atMs > end) return false
      pop(this.queue)
      const { run } = next
      if (run === null) continue
      this.nowMs = next.atMs
      this.events++
      run()
      await turns()
    }
  }
}

/** A process of the simulated system. Once it is killed, none of its timers runs any more. */
export class Process {
  readonly name: string
  alive = true
  private readonly world: World
  private readonly random: Random
  private readonly endings: (() => void)[] = []

  constructor(world: World, name: string) {
    this.world = world
    this.name = name
    this.random = world.random(`process ${name}`)
  }

  /** Ends it without a word. */
  kill(): void {
    if (!this.alive) return
    this.alive = false
    for (const ending of this.endings.splice(0)) ending()
  }

  onKill(ending: () => void): void {
    this.endings.push(ending)
  }

  after(ms: number, run: () => void): () => void {
    return this.world.after(ms, () => {
      if (this.alive) run()
    })
  }

  /** Resolves after so many milliseconds, if the process lives. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.after(ms, resolve))
  }

  get brokerClock(): BrokerClock {
    return {
      wallMs: () => this.world.wallMs,
      monotonicMs: () => this.world.nowMs,
      after: (ms, callback) => this.after(ms, callback),
    }
  }

  get clientClock(): ClientClock {
    return {
      nowMs: () => this.world.nowMs,
      setTimeout: (run, ms) => this.after(ms, run),
      clearTimeout: (cancel) => (cancel as (() => void) | undefined)?.(),
      random: () => this.random.next(),
      soon: (run) => void setImmediate(() => this.alive && run()),
    }
  }
}

async function turns(): Promise<void> {
  for (let i = 0; i < TURNS; i++) await new Promise<void>((resolve) => setImmediate(resolve))
}

const isBefore = (a: Event, b: Event): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)

/** Adds to a heap. */
function push(heap: Event[], event: Event): void {
  let at = heap.length
  heap.push(event)
  while (at > 0) {
    const parent = (at - 1) >> 1
    if (!isBefore(event, heap[parent] as Event)) break
    heap[at] = heap[parent] as Event
    at = parent
  }
  heap[at] = event
}

/** Takes the first one off a heap. */
function pop(heap: Event[]): void {
  const last = heap.pop() as Event
  if (heap.length === 0) return
  let at = 0
  for (;;) {
    let child = 2 * at + 1
    if (child >= heap.length) break
    if (child + 1 < heap.length && isBefore(heap[child + 1] as Event, heap[child] as Event)) child++
    if (!isBefore(heap[child] as Event, last)) break
    heap[at] = heap[child] as Event
    at = child
  }
  heap[at] = last
}
