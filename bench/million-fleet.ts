/** A broker and the process of its load, for one run of `million`. */

import type { ChildProcess } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { type BrokerConfig, BrokerProcess } from './broker-process.ts'
import { startChild } from './child.ts'
import type { LoadRequests, LoadSettings } from './million-orders.ts'
import { Layout } from './million-topics.ts'
import { Asker } from './requests.ts'
import { type Context, ticking } from './scenario.ts'

const LOAD = 'million-load'
/** A session of the client with a reader and a stream takes some 3 KB. */
const LOAD_OPTIONS = ['--expose-gc', '--max-old-space-size=7000', '--max-semi-space-size=64']
/** What a collection frees is given back by other threads, within this. */
const SETTLE_MS = 500

export interface Memory {
  /** What no file backs, as Linux counts it: also what is free in between, and LevelDB's. */
  readonly anonBytes: number
  /** What V8 says is in use. */
  readonly usedBytes: number
}

export class Fleet {
  readonly broker: BrokerProcess
  /** Those of the load. */
  readonly topics: number
  private readonly child: ChildProcess
  private readonly load: Asker<LoadRequests>
  private readonly context: Context

  private constructor(broker: BrokerProcess, child: ChildProcess, topics: number, context: Context) {
    this.broker = broker
    this.child = child
    this.topics = topics
    this.load = new Asker<LoadRequests>(child)
    this.context = context
  }

  /** A new broker, and a load that is connected and has no session yet. */
  static async start(topics: number, connections: number, config: BrokerConfig, context: Context): Promise<Fleet> {
    const broker = await BrokerProcess.start(config)
    try {
      const settings: LoadSettings = { url: broker.url, topics, connections }
      const { child } = await startChild(LOAD, [JSON.stringify(settings)], LOAD_OPTIONS)
      const fleet = new Fleet(broker, child, new Layout(topics, connections).topics, context)
      await fleet.ask('connect')
      return fleet
    } catch (error) {
      await broker.stop()
      throw error
    }
  }

  readonly ask: Asker<LoadRequests>['ask'] = (name, argument) => this.load.ask(name, argument)

  /** Asks the load for something long, and tells meanwhile how far it is. */
  step<N extends keyof LoadRequests>(
    what: string,
    name: N,
    argument?: Parameters<LoadRequests[N]>[0],
  ): Promise<Awaited<ReturnType<LoadRequests[N]>>> {
    return this.telling(what, () => this.ask(name, argument))
  }

  /** Tells what is under way, and on which topics, while it is. */
  async telling<T>(what: string, work: () => Promise<T>): Promise<T> {
    const { topics, context } = this
    let done = ''
    const startedMs = performance.now()
    const line = (): string => {
      void this.ask('done').then((count) => {
        done = `, ${count} done`
      })
      return `${topics} topics: ${what}${done}`
    }
    const result = await ticking(context, line, work)
    context.progress(`${topics} topics: ${what}: ${((performance.now() - startedMs) / 1000).toFixed(1)} s`)
    return result
  }

  /** The load leaves, and is connected anew with no session once all topics have left the broker's memory. */
  async sleepAll(): Promise<void> {
    await this.ask('leave')
    await this.broker.until(({ residentTopics }) => residentTopics === 0)
    await this.ask('connect')
  }

  /** Memory of the broker after a collection, once it has had time for what it does when nobody asks it for anything. */
  async memory(ms: number): Promise<Memory> {
    await sleep(ms)
    const { heapBytes, externalBytes } = await this.broker.ask('collect')
    await sleep(Math.min(ms, SETTLE_MS))
    return { anonBytes: this.broker.anonBytes(), usedBytes: heapBytes + externalBytes }
  }

  async stop(): Promise<void> {
    if (this.child.connected) this.child.disconnect()
    await this.broker.stop()
  }
}
