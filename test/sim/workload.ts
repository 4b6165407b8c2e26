/** What happens in a simulation, step by step, as chance has it: what agents and readers do, and what befalls the system. */

import type { SessionOptions } from '../../client/index.ts'
import type { Random } from './random.ts'
import { type Place, SimReader } from './readers.ts'
import { SimSession } from './sessions.ts'
import { Agent, LINGERS, type System } from './system.ts'

const NAMES = [...LINGERS.keys()]
const MOST_AGENTS = 5
const MOST_SESSIONS = 4
const MOST_READERS = 8
/** Places kept to read on at. */
const PLACES = 20

type Action = readonly [weight: number, name: string, run: () => void]

export class Workload {
  readonly agents: Agent[] = []
  readonly sessions: SimSession[] = []
  readonly readers: SimReader[] = []
  private readonly system: System
  private readonly random: Random
  private readonly places: Place[] = []
  private readonly actions: readonly Action[]
  /** Share of sessions that take their topic for themselves. */
  private readonly exclusives: number
  private agentCount = 0

  constructor(system: System) {
    this.system = system
    this.random = system.world.random('workload')
    this.exclusives = this.random.pick([0, 0, 0.05, 0.3])
    // Each seed does some things often, and others never.
    const emphasis = (): number =>
      this.random.weighted([
        [2, 0],
        [6, 1],
        [2, 5],
      ] as const)
    const rare = (): number =>
      this.random.weighted([
        [4, 0],
        [4, 1],
        [1, 4],
      ] as const)
    this.actions = [
      ...this.verbs().map(([weight, name, run]): Action => [weight * emphasis(), name, run]),
      ...this.comings().map(([weight, name, run]): Action => [weight * Math.max(emphasis(), 0.5), name, run]),
      ...this.mishaps().map(([weight, name, run]): Action => [weight * rare(), name, run]),
    ]
  }

  /** One thing happens, and some time passes. */
  async step(): Promise<void> {
    const { world, host } = this.system
    const { random } = this
    this.tidy()
    if (this.agents.length === 0) this.addAgent()
    if (host.disk.isWriting && random.chance(0.3)) this.readMeanwhile()
    else random.weighted(this.actions.map((action) => [action[0], action] as const))[2]()
    await world.pass(
      random.weighted([
        [10, 0],
        [20, random.between(0, 5)],
        [8, random.between(0, 60)],
        [2, random.between(0, 1500)],
        [0.5, random.between(0, 20_000)],
        [0.1, random.between(0, 200_000)],
      ]),
    )
  }

  /** Nothing more is begun. Writers end what they write, and readers read as fast as they can. */
  calm(): void {
    this.tidy()
    for (const session of this.sessions) {
      for (const writing of [...session.writers]) if (!writing.over) session.endStream(writing)
    }
    for (const reader of this.readers) reader.hurry()
  }

  private verbs(): Action[] {
    const verb = (run: (session: SimSession) => void) => (): void => {
      const session = this.someSession()
      if (session !== null) run(session)
    }
    return [
      [20, 'append', verb((session) => session.append())],
      [5, 'burst', verb((session) => this.repeat(20, () => session.append()))],
      [6, 'appendOnce', verb((session) => session.appendOnce())],
      [4, 'appendAll', verb((session) => session.appendAll())],
      [4, 'checkpoint', verb((session) => session.checkpoint())],
      [6, 'context', verb((session) => session.context())],
      [6, 'contextAsOf', verb((session) => session.contextAsOf())],
      [3, 'resume', verb((session) => session.resume())],
      [8, 'openStream', verb((session) => session.openStream())],
      [6, 'continue', verb((session) => session.continue())],
      [30, 'write', verb((session) => session.writeSome())],
      [1.5, 'writeMuch', verb((session) => session.writeMuch())],
      [3, 'flush', verb((session) => session.flush())],
      [5, 'endStream', verb((session) => session.endStream())],
      [5, 'generate', verb((session) => session.generate())],
      [3, 'stop', verb((session) => session.stop())],
      [1, 'trim', verb((session) => session.trim())],
      [0.6, 'delete', verb((session) => session.deleteTopic())],
      [0.3, 'closeTopic', verb((session) => session.closeTopic())],
      [3, 'mixture', verb((session) => this.mixture(session))],
    ]
  }

  private comings(): Action[] {
    return [
      [2, 'addAgent', () => this.addAgent()],
      [8, 'open', () => this.open()],
      [2, 'close', () => this.someSession()?.close()],
      [10, 'read', () => this.read()],
      [3, 'leave', () => this.leave()],
      [2, 'leaveAndComeBack', () => this.leave() && this.read()],
    ]
  }

  private mishaps(): Action[] {
    const { world, host } = this.system
    const { random } = this
    const { network, disk } = host
    return [
      [3, 'killAgent', () => this.killAgent()],
      [4, 'cut', () => network.cutOne()],
      [1, 'cutAll', () => network.cutAll()],
      [0.5, 'networkFails', () => network.fail(random.between(0, 20_000))],
      [3, 'crash', () => this.crashBroker()],
      [3, 'crashSoon', () => this.crashSoon()],
      [1, 'restart', () => host.restart()],
      [0.7, 'journalFails', () => disk.fail('journal', random.between(0, 3000))],
      [0.7, 'tableFails', () => disk.fail('table', random.between(0, 3000))],
      [0.5, 'readFails', () => disk.fail('read', random.between(0, 500))],
      [1, 'slowDisk', () => this.slowDisk()],
      [1, 'wallClock', () => this.setWallClock()],
      [1, 'idle', () => void world.after(0, () => {})],
    ]
  }

  /** Things of one session that are sent together. */
  private mixture(session: SimSession): void {
    session.writeSome()
    session.append()
    session.writeSome()
    if (this.random.chance(0.5)) session.endStream()
    session.append()
  }

  /** What is read while it is moved from memory to the table. */
  private readMeanwhile(): void {
    for (const session of this.sessions.filter((one) => one.usable && !one.observes)) {
      if (this.random.chance(0.5)) session.contextAsOf()
      else session.resume()
    }
  }

  private repeat(most: number, run: () => void): void {
    for (let count = this.random.int(2, most); count > 0; count--) run()
  }

  private addAgent(): void {
    if (this.agents.length >= MOST_AGENTS) return
    const { world, host, waiting } = this.system
    const agent = new Agent(world, host, `agent${++this.agentCount}`, waiting)
    this.agents.push(agent)
    this.open(agent)
  }

  private open(agent: Agent = this.random.pick(this.agents)): void {
    const { model, world } = this.system
    const { random } = this
    if (this.sessions.filter((session) => session.agent === agent).length >= MOST_SESSIONS) return
    const name = random.weighted([
      [8, NAMES[0] as string],
      [3, random.pick(NAMES)],
    ] as const)
    const observe = random.chance(0.1)
    const exclusive = !observe && random.chance(this.exclusives)
    const options: SessionOptions<never> = { observe, exclusive }
    const asked = model.number()
    const sinceMs = world.nowMs
    agent.call(
      `session ${name}${observe ? ' (observe)' : exclusive ? ' (exclusive)' : ''}`,
      () => agent.client.session(name, options),
      observe ? ['NOT_FOUND'] : [],
      (session) => {
        const epoch = model.epoch(name, session.epoch)
        for (const older of model.alive(name)) if (older.epoch < epoch.epoch) older.gone(`agent of ${epoch.label}`)
        if (!observe) epoch.held(sinceMs, `session of ${epoch.label}`)
        if (session.created) epoch.used(sinceMs)
        const opened = new SimSession(this.system, agent, session, epoch, random)
        opened.observes = observe
        epoch.sessions.set(opened.id, { asked, opened: model.number(), exclusive })
        this.sessions.push(opened)
      },
    )
  }

  private read(): boolean {
    const session = this.someSession(true)
    if (session === null || this.readers.length >= MOST_READERS) return false
    const places = this.places.filter(({ name }) => name === session.epoch.name)
    this.readers.push(new SimReader(this.system, session, this.random, places))
    return true
  }

  private leave(): boolean {
    const reader = this.readers.length === 0 ? null : this.random.pick(this.readers)
    if (reader === null) return false
    this.keep(reader)
    reader.leave()
    return true
  }

  private keep(reader: SimReader): void {
    const { place } = reader
    if (place === null) return
    this.places.push(place)
    if (this.places.length > PLACES) this.places.shift()
  }

  private killAgent(): void {
    const agent = this.random.pick(this.agents)
    this.system.world.note(`${agent.process.name} is killed`)
    for (const reader of this.readers) if (reader.session.agent === agent) this.keep(reader)
    agent.process.kill()
  }

  private crashBroker(): void {
    const { host, world } = this.system
    host.crash()
    world.after(this.random.chance(0.5) ? 0 : this.random.between(0, 5000), () => host.start())
  }

  /** Some things are just being done when the broker crashes. */
  private crashSoon(): void {
    const { random, actions } = this
    const { world, host } = this.system
    world.after(random.between(0, 8), () => {
      host.crash()
      host.start()
    })
    const sudden = ['crashSoon', 'crash', 'restart']
    const others = actions.filter(([, name]) => !sudden.includes(name))
    for (let count = random.int(1, 6); count > 0; count--) {
      const at = random.between(0, 6)
      world.after(at, () => {
        this.tidy()
        if (this.agents.length > 0) random.weighted(others.map((action) => [action[0], action] as const))[2]()
      })
    }
  }

  private slowDisk(): void {
    const { disk } = this.system.host
    disk.slownessMs = this.random.pick([0.1, 2, 2, 20, 200])
  }

  /** The wall clock is set, ahead or back. */
  private setWallClock(): void {
    const { world } = this.system
    world.wallOffsetMs += Math.round(this.random.between(-600_000, 600_000))
    world.mostWallOffsetMs = Math.max(world.mostWallOffsetMs, world.wallOffsetMs)
    world.wallWasSet = true
    world.note(`wall clock off by ${world.wallOffsetMs}`)
  }

  private someSession(mayObserve = false): SimSession | null {
    const usable = this.sessions.filter((session) => session.usable && (mayObserve || !session.observes))
    return usable.length === 0 ? null : this.random.pick(usable)
  }

  private tidy(): void {
    remove(this.agents, (agent) => !agent.process.alive)
    remove(this.sessions, (session) => !session.usable)
    remove(this.readers, (reader) => reader.over || !reader.session.usable)
  }
}

function remove<T>(list: T[], isOver: (item: T) => boolean): void {
  for (let at = list.length - 1; at >= 0; at--) if (isOver(list[at] as T)) list.splice(at, 1)
}
