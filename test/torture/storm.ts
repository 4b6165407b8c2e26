/** Keeps broker, agents and readers running, and kills them at random moments, until it is told that it is enough. */

import { connect } from '../../client/index.ts'
import { Random, seedOf } from '../random.ts'
import { type Player, startAgents, startBrokerProcess, startReaders } from './cast.ts'
import { type AgentRole, pause, type ReaderRole } from './messages.ts'
import type { TortureOptions } from './options.ts'

const AGENT_PROCESSES = 4
const READER_PROCESSES = 2
/** Agents that share a topic. */
const AGENTS_PER_TOPIC = 4
/** A topic remembers 64 producers for an hour, and each life of an agent is one: then its agents move on to a new topic. */
const PRODUCERS_PER_TOPIC = 48
/** Nothing was acknowledged or read for this long: something hangs. */
const WATCHDOG_MS = 30_000
/** Coming to an end: what was sent is acknowledged, what is there is read. */
const FINISH_MS = 120_000

export class Storm {
  readonly kills = { broker: 0, agents: 0, readers: 0 }
  /** Everything that went wrong with the processes themselves. */
  readonly failures: string[] = []
  /** All topics that are to be checked. */
  readonly topics: string[] = []
  private readonly options: TortureOptions
  private readonly directory: string
  readonly url: string
  private readonly config: string
  private broker: Player | null = null
  private readonly players = new Map<string, Player>()
  private readonly lives = new Map<string, number>()
  private readonly producers = new Map<string, number>()
  private over = false
  private recordsBefore = 0
  private newest = { records: 0, atMs: performance.now() }

  constructor(options: TortureOptions, directory: string, url: string, config: string) {
    this.options = options
    this.directory = directory
    this.url = url
    this.config = config
  }

  /** Records that were acknowledged and read so far, as the processes told last. */
  get records(): number {
    let records = this.recordsBefore
    for (const player of this.players.values()) records += player.records
    return records
  }

  /** Runs for so long, then lets everyone come to an end. Resolves when only the broker is left. */
  async run(ms: number): Promise<void> {
    this.startBroker()
    const loops: Promise<void>[] = [this.torment('broker', [500, 7_000], this.options.killBroker)]
    for (let i = 0; i < AGENT_PROCESSES; i++) {
      this.start(`agents ${i}`)
      loops.push(this.torment(`agents ${i}`, [2_000, 20_000], this.options.killAgents))
    }
    for (let i = 0; i < READER_PROCESSES; i++) {
      this.start(`readers ${i}`)
      loops.push(this.torment(`readers ${i}`, [2_000, 15_000], this.options.killAgents))
    }
    const endMs = performance.now() + ms
    while (performance.now() < endMs && this.failures.length === 0) {
      await pause(200)
      this.watch()
    }
    this.over = true
    await Promise.all(loops)
    await this.finish()
  }

  /** Kills the broker once more, and starts it again for the checker. */
  async restartBroker(): Promise<void> {
    await this.killBroker()
    await this.startBroker().started
  }

  /** Ends the broker as an operator does. Resolves with what is wrong with how it ended. */
  async stopBroker(): Promise<string | null> {
    const ending = await this.broker?.kill('SIGTERM')
    return ending?.code === 0
      ? null
      : `the broker ended with ${ending?.signal ?? ending?.code} when it was told to stop`
  }

  /** For the end of this process, whatever happens. */
  killAll(): void {
    for (const player of [...this.players.values(), this.broker]) void player?.kill()
  }

  /** Kills it again and again, now and then while it starts. */
  private async torment(name: string, [least, most]: [number, number], isKilled: boolean): Promise<void> {
    const random = new Random(seedOf(this.options.seed, name))
    while (!this.over) {
      const player = name === 'broker' ? this.broker : this.players.get(name)
      const early = random.chance(0.1)
      if (!early) await Promise.race([player?.started, this.whenOver()])
      await Promise.race([pause(early ? random.between(0, 1_000) : random.between(least, most)), this.whenOver()])
      if (this.over || !isKilled) continue
      if (name === 'broker') {
        await this.killBroker()
        this.startBroker()
      } else {
        await this.killPlayer(name)
        this.start(name)
      }
    }
  }

  private async whenOver(): Promise<void> {
    while (!this.over) await pause(100)
  }

  private startBroker(): Player {
    const broker = startBrokerProcess(this.config)
    this.broker = broker
    this.guard(broker)
    return broker
  }

  private async killBroker(): Promise<void> {
    this.kills.broker++
    await this.broker?.kill()
  }

  private start(name: string): void {
    const index = Number(name.slice(-1))
    const common = { url: this.url, directory: this.directory, seed: this.options.seed }
    const player = name.startsWith('agents')
      ? startAgents(name, { ...common, agents: this.agentsOf(index) })
      : startReaders(name, { ...common, readers: this.readersOf(index), drain: false })
    this.players.set(name, player)
    this.guard(player)
  }

  private async killPlayer(name: string): Promise<void> {
    const player = this.players.get(name)
    if (player === undefined) return
    this.kills[name.startsWith('agents') ? 'agents' : 'readers']++
    await player.kill()
    this.recordsBefore += player.records
    this.players.delete(name)
  }

  /** A process that ends by itself is a failure. */
  private guard(player: Player): void {
    void player.ended.then(({ code, signal }) => {
      if (player.leaving) return
      this.failures.push(`${player.name} ended by itself (${signal ?? `exit code ${code}`}):\n${player.stderr}`)
    })
  }

  private watch(): void {
    const { records } = this
    const nowMs = performance.now()
    if (records !== this.newest.records) this.newest = { records, atMs: nowMs }
    else if (nowMs - this.newest.atMs > WATCHDOG_MS) this.failures.push(`no progress for ${WATCHDOG_MS} ms`)
  }

  private agentsOf(index: number): AgentRole[] {
    const each = Math.ceil(this.options.agents / AGENT_PROCESSES)
    const groups = Math.max(1, Math.floor(this.options.agents / AGENTS_PER_TOPIC))
    return Array.from({ length: each }, (_, i) => {
      const name = `${'abcd'[index]}${i}`
      const life = this.lives.get(name) ?? 0
      this.lives.set(name, life + 1)
      const group = i % groups
      // One in eight topics is trimmed by its agents.
      return { name, life, topic: this.topicOf(group), trims: group % 8 === 7 }
    })
  }

  private topicOf(group: number): string {
    const producers = this.producers.get(String(group)) ?? 0
    this.producers.set(String(group), producers + 1)
    const topic = `torture/keep/${group}-${Math.floor(producers / PRODUCERS_PER_TOPIC)}`
    if (!this.topics.includes(topic)) this.topics.push(topic)
    return topic
  }

  /** Every topic has two readers, one of each kind, in two processes. */
  private readersOf(index: number): ReaderRole[] {
    return this.topics.map((topic, i) => ({ name: `r${index}`, topic, raw: (i + index) % 2 === 0 }))
  }

  private async finish(): Promise<void> {
    for (let i = 0; i < READER_PROCESSES; i++) await this.killPlayer(`readers ${i}`)
    const agents = [...this.players.values()]
    for (const player of agents) player.finish()
    await this.settled(agents)
    const readers = Array.from({ length: READER_PROCESSES }, (_, i) => {
      const role = { readers: this.readersOf(i), drain: true, seed: this.options.seed }
      return startReaders(`readers ${i}`, { ...role, url: this.url, directory: this.directory })
    })
    for (const reader of readers) {
      reader.leaving = true
      this.players.set(reader.name, reader)
    }
    await this.settled(readers)
  }

  /** Waits until all have ended by themselves, and says so of those that do not. */
  private async settled(players: readonly Player[]): Promise<void> {
    await Promise.all(
      players.map(async (player) => {
        let timer: NodeJS.Timeout | undefined
        const late = new Promise<null>((resolve) => {
          timer = setTimeout(() => resolve(null), FINISH_MS)
        })
        const ending = await Promise.race([player.ended, late])
        clearTimeout(timer)
        if (ending?.code !== 0) {
          const how = ending === null ? `did not end in ${FINISH_MS} ms` : `ended with ${ending.code}`
          this.failures.push(`${player.name} ${how}:\n${player.stderr}`)
          await player.kill()
        }
      }),
    )
  }

  /** Do all topics that were to be reclaimed go? Resolves with how many are left behind. */
  async leftBehind(prefix: string, withinMs: number): Promise<number> {
    const broker = connect(this.url)
    const endMs = performance.now() + withinMs
    try {
      for (;;) {
        const { topics } = await broker.list({ prefix })
        if (topics.length === 0 || performance.now() > endMs) return topics.length
        await pause(250)
      }
    } finally {
      await broker.close()
    }
  }
}
