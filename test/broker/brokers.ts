/** Brokers of a test, on a virtual clock, which are closed behind it. */

import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach } from 'vitest'
import { type Broker, type BrokerOptions, startBroker } from '../../broker/index.ts'
import {
  type RecordData,
  writeCheckpoint,
  writeContext,
  writeMessage,
  writeStream,
  writeToken,
} from '../../protocol/index.ts'
import { MemoryDisk, openMemoryStore } from '../../storage/index.ts'
import { type Fill, Peer } from './peer.ts'
import { eventually, turn, VirtualClock } from './virtual-clock.ts'

const open = new Set<() => Promise<unknown>>()

afterEach(async () => {
  const closing = [...open].reverse()
  open.clear()
  for (const close of closing) await close()
})

/** Runs behind the test, the newest first. */
export function afterwards(close: () => Promise<unknown>): void {
  open.add(close)
}

/** A broker, its clock, and what it stores on, so that it can be killed and started again. */
export class TestBroker {
  readonly clock: VirtualClock
  readonly broker: Broker
  /** Lines that it logged. */
  readonly log: string[]
  /** What its peers show, unless they say otherwise. */
  token: string | undefined
  private readonly options: BrokerOptions
  private readonly disk: MemoryDisk | null

  private constructor(
    broker: Broker,
    clock: VirtualClock,
    log: string[],
    options: BrokerOptions,
    disk: MemoryDisk | null,
  ) {
    this.broker = broker
    this.clock = clock
    this.log = log
    this.options = options
    this.disk = disk
  }

  /** In memory, unless a data directory or a store is given. */
  static async start(options: BrokerOptions = {}, disk: MemoryDisk = new MemoryDisk()): Promise<TestBroker> {
    const clock = (options.clock as VirtualClock | undefined) ?? new VirtualClock()
    const log: string[] = []
    const inMemory = options.dataDir === undefined && options.store === undefined
    const store = inMemory ? await openMemoryStore(disk) : options.store
    const broker = await startBroker({ port: 0, log: (line) => log.push(line), ...options, clock, store })
    afterwards(() => broker.close())
    // Topics that were live when a broker before it stopped are looked after in the background.
    for (let turns = 0; turns < 20; turns++) await turn()
    return new TestBroker(broker, clock, log, options, inMemory ? disk : null)
  }

  async peer(options?: { hello?: boolean; token?: string }): Promise<Peer> {
    const peer = await Peer.connect(this.broker.url, { token: this.token, ...options })
    afterwards(async () => peer.socket.terminate())
    return peer
  }

  /** Drops the peer's connection without a word, and waits until the broker knows. */
  async drop(peer: Peer): Promise<void> {
    const before = this.broker.stats().connections
    peer.socket.terminate()
    await eventually(() => peer.closeCode !== null && this.broker.stats().connections < before)
  }

  /** Closes it, and starts another one on the same data and clock. */
  async restart(options: BrokerOptions = {}): Promise<TestBroker> {
    await this.broker.close()
    return TestBroker.start({ ...this.options, clock: this.clock, ...options }, this.disk ?? undefined)
  }

  /** Starts another one on what is stored now, as if this one had been killed. */
  async kill(options: BrokerOptions = {}): Promise<TestBroker> {
    const merged = { ...this.options, clock: this.clock, ...options }
    if (this.disk !== null) return TestBroker.start(merged, this.disk.copy())
    const dataDir = await tempDir()
    await cp(this.broker.dataDir as string, dataDir, {
      recursive: true,
      filter: (source) => !/(^|\/)(LOCK|lock|control\.sock)$/i.test(source),
    })
    return TestBroker.start({ ...merged, dataDir })
  }

  /** Moves time on until the condition holds, a second at a time, with turns of the loop for what is read and written. */
  async pass(condition: () => boolean, seconds = 60): Promise<void> {
    for (let second = 0; second < seconds; second++) {
      for (let turns = 0; turns < 200 && !condition(); turns++) await turn()
      if (condition()) return
      await this.clock.advance(1000)
    }
    throw new Error(`not within ${seconds} s`)
  }

  /** Waits until no topic is in memory. */
  async dormant(): Promise<void> {
    await this.pass(() => this.broker.stats().residentTopics === 0)
  }
}

export async function tempDir(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'litetopic-broker-'))
  afterwards(() => rm(directory, { recursive: true, force: true }))
  return directory
}

export const text = (value: string): RecordData => ({ tag: 'text', value })
export const json = (value: unknown): RecordData => ({ tag: 'json', value: JSON.stringify(value) })

export const message =
  (value: string, id?: string): Fill =>
  (out) =>
    writeMessage(out, text(value), id === undefined ? undefined : { id })

export const token =
  (streamId: string, value: string | RecordData, part = 'text', repeat = false): Fill =>
  (out) =>
    writeToken(out, streamId, part, typeof value === 'string' ? text(value) : value, repeat)

/** Tokens of one part, the later ones as repeats. */
export const tokens = (streamId: string, ...values: string[]): Fill[] =>
  values.map((value, i) => token(streamId, value, 'text', i > 0))

export const context =
  (op: 'set' | 'append' | 'delete', name: string, value: RecordData = json(null)): Fill =>
  (out) =>
    writeContext(out, op, name, value)

export const checkpoint =
  (name: string, state: RecordData = json(null)): Fill =>
  (out) =>
    writeCheckpoint(out, name, state)

export const streamEnd =
  (state: 'done' | 'failed' | 'stopped' | 'open', streamId: string, detail?: RecordData): Fill =>
  (out) =>
    writeStream(out, state, streamId, detail)
