/** The system under simulation: a broker that crashes and comes back, its disk and network, and what clients wait for. */

import { type Broker, startBroker } from '../../broker/index.ts'
import { type Broker as Client, connect, LitetopicError } from '../../client/index.ts'
import { SimDisk } from './disk.ts'
import { Model } from './model.ts'
import { SimNetwork } from './network.ts'
import type { Random } from './random.ts'
import { Process, type World } from './world.ts'

/** The topics, and how long each outlives its last attachment. */
export const LINGERS: ReadonlyMap<string, number> = new Map([
  ['keep/a', Number.POSITIVE_INFINITY],
  ['keep/b', Number.POSITIVE_INFINITY],
  ['short/now', 0],
  ['short/soon', 800],
  ['long/minute', 60_000],
  ['life/half', Number.POSITIVE_INFINITY],
])

/** Those that go so long after they were used, attached or not. */
export const TTLS: ReadonlyMap<string, number> = new Map([['life/half', 30_000]])

/** A broker that could not start is started again after so many ms. */
const RETRY_MS = 5000

export class BrokerHost {
  readonly disk: SimDisk
  readonly network: SimNetwork
  private readonly world: World
  private readonly random: Random
  private readonly settings: { streamGraceMs: number; residencyIdleMs: number; quietMs: number }
  private process: Process | null = null
  private broker: Broker | null = null
  private lives = 0

  constructor(world: World) {
    this.world = world
    this.disk = new SimDisk(world)
    this.network = new SimNetwork(world)
    this.random = world.random('broker')
    this.settings = {
      streamGraceMs: this.random.pick([300, 2000, 10_000]),
      residencyIdleMs: this.random.pick([50, 1000, 10_000]),
      quietMs: this.random.pick([50, 1000, 10_000]),
    }
  }

  get running(): boolean {
    return this.broker !== null
  }

  get stats(): ReturnType<Broker['stats']> | null {
    return this.broker?.stats() ?? null
  }

  /** Starts it unless it runs. What it cannot open now it tries again. */
  start(): void {
    if (this.process !== null) return
    const process = new Process(this.world, `broker${++this.lives}`)
    this.process = process
    this.world.note(`broker starts (${this.lives})`)
    const { disk, network, settings } = this
    startBroker({
      ...settings,
      // Called again after a failed write.
      store: async () => disk.open(process),
      transport: network.transport(process),
      clock: process.brokerClock,
      policies: Object.fromEntries(
        [...LINGERS].map(([name, ms]) => [name, { lingerMs: lingerOption(ms), ttlMs: TTLS.get(name) }]),
      ),
      log: (line) => process.alive && this.logged(line),
    }).then(
      (broker) => {
        if (process.alive) this.broker = broker
      },
      (error: unknown) => {
        if (!process.alive) return
        this.world.note(`broker does not start: ${error}`)
        if (!(error instanceof LitetopicError) || error.code !== 'STORE_UNAVAILABLE') {
          this.world.violated(`the broker does not start: ${error instanceof Error ? error.stack : error}`)
        }
        this.crash()
        this.world.after(RETRY_MS, () => this.start())
      },
    )
  }

  /** What is not synced is gone, and no client is told. */
  crash(): void {
    this.world.note('broker crashes')
    this.process?.kill()
    this.process = this.broker = null
  }

  /** Closes it in good order and starts it again. It may crash meanwhile. */
  restart(): void {
    const { process, broker } = this
    if (process === null || broker === null) return
    this.world.note('broker closes')
    this.broker = null
    const closed = (): void => {
      if (this.process !== process || !process.alive) return
      this.crash()
      this.start()
    }
    broker.close().then(closed, (error: unknown) => {
      this.world.note(`broker closes with ${error}`)
      closed()
    })
  }

  private logged(line: string): void {
    this.world.note(`broker says ${line}`)
    if (/INTERNAL|STORE_CORRUPT|NOT_OWNER/.test(line)) this.world.violated(`the broker says ${line}`)
  }
}

export const lingerOption = (ms: number): number | 'forever' => (Number.isFinite(ms) ? ms : 'forever')

/** Errors that a session may meet at any time, because its topic or itself is over. */
const ENDINGS: readonly string[] = ['GONE', 'RECREATED', 'CONNECTION_CLOSED']

/** A client program: it makes calls and goes on without waiting for them. */
export class Agent {
  readonly process: Process
  readonly client: Client
  private readonly world: World
  private readonly waiting: Set<string>
  private calls = 0

  constructor(world: World, host: BrokerHost, name: string, waiting: Set<string>) {
    this.world = world
    this.process = new Process(world, name)
    this.waiting = waiting
    this.client = connect('ws://sim', {
      webSocket: host.network.factory(this.process),
      clock: this.process.clientClock,
    })
    this.process.onKill(() => {
      for (const what of waiting) if (what.startsWith(`${name} `)) waiting.delete(what)
    })
  }

  /**
   * Makes a call, and tells what came of it if the process still lives. Any error but those of `allowed`, and the endings of a
   * session, is a violation.
   */
  call<T>(
    what: string,
    make: () => Promise<T>,
    allowed: readonly string[] | (() => readonly string[]),
    done: (value: T) => void,
    refused: (code: string) => void = () => {},
  ): void {
    const { world, process, waiting } = this
    const label = `${process.name} ${what}`
    const entry = `${label} (call ${++this.calls})`
    waiting.add(entry)
    world.note(label)
    const settle = (how: string): boolean => {
      if (!process.alive || !waiting.delete(entry)) return false
      world.note(`${label}: ${how}`)
      return true
    }
    const fail = (error: unknown): void => {
      const code = error instanceof LitetopicError ? error.code : ''
      if (!settle(code === '' ? String(error) : code)) return
      const expected = typeof allowed === 'function' ? allowed() : allowed
      if (!ENDINGS.includes(code) && !expected.includes(code)) {
        world.violated(`${label} fails with ${error instanceof Error ? error.stack : error}`)
      }
      refused(code)
    }
    try {
      make().then((value) => {
        if (settle('done')) done(value)
      }, fail)
    } catch (error) {
      fail(error)
    }
  }
}

export interface System {
  readonly world: World
  readonly host: BrokerHost
  readonly model: Model
  /** Calls that clients wait for. */
  readonly waiting: Set<string>
}

export function makeSystem(world: World): System {
  return { world, host: new BrokerHost(world), model: new Model(world, LINGERS, TTLS), waiting: new Set() }
}
