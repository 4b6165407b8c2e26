/**
 * What one agent does to its topic: appends of every kind, streams, and meddling with the streams of others. Everything goes on
 * at once; everything that was begun is in the ledger before.
 */

import type { Broker, Session, StreamWriter } from '../../client/index.ts'
import type { Random } from '../random.ts'
import { isBeginning, type Marked, partOf, piece, tokensIn, totalOf } from './content.ts'
import { Journal } from './journal.ts'
import { type AgentRole, pause } from './messages.ts'

const ENDS: readonly string[] = ['done', 'stopped', 'failed']
/** Appends of one agent that may wait for their acknowledgement. */
const WINDOW = 24
/** More than one append holds: it is uploaded in parts. */
const LARGE_BYTES = [270_000, 1_000_000] as const
/** Ids that an agent appends again now and then. */
const KEPT_IDS = 50
/** A joint stream, and a joint id, is for all agents of a topic that come by within this time. */
const JOINT_MS = 4_000
/** Records that trimming leaves. */
const TRIM_KEEPS = 2_000

interface Surroundings {
  /** Records were acknowledged. */
  count(records: number): void
  /** Is it to come to an end? */
  finished(): boolean
}

export class Work {
  readonly journal: Journal
  private readonly agent: AgentRole
  private readonly session: Session<unknown>
  private readonly random: Random
  private readonly finished: () => boolean
  private readonly pending = new Set<Promise<void>>()
  /** Ids that are stored, with their offsets. */
  private readonly ids: { id: string; offset: number }[] = []
  private made = 0

  private constructor(
    agent: AgentRole,
    session: Session<unknown>,
    journal: Journal,
    random: Random,
    finished: () => boolean,
  ) {
    this.agent = agent
    this.session = session
    this.journal = journal
    this.random = random
    this.finished = finished
  }

  static async begin(
    broker: Broker,
    directory: string,
    agent: AgentRole,
    random: Random,
    { count, finished }: Surroundings,
  ): Promise<Work> {
    const journal = new Journal(directory, agent.topic, agent, count)
    const session = await broker.session<unknown>(agent.topic, { lingerMs: 'forever' })
    return new Work(agent, session, journal, random, finished)
  }

  /** Does again what an earlier life began: ids that were not acknowledged, streams whose end it did not see. */
  async finishOld(): Promise<void> {
    const ids = new Set<string>()
    const streams = new Set<string>()
    for (const line of this.journal.before) {
      if (line[0] === 'intent' && line[4] !== null) ids.add(line[4])
      else if (line[0] === 'stream' && line[1].startsWith('s-')) streams.add(line[1])
      else if (line[0] === 'end') streams.delete(line[1])
    }
    for (const id of [...ids].slice(-KEPT_IDS)) await this.appendId(id)
    for (const streamId of streams) {
      // Not those of others, which it only meddled with.
      if (streamId.startsWith(`s-${this.agent.name}.`)) await this.run(streamId)
    }
  }

  async append(): Promise<void> {
    while (!this.finished()) {
      await pause(this.random.between(0, 120))
      while (this.pending.size >= WINDOW) await Promise.race(this.pending)
      const kind = this.random.next()
      if (kind < 0.6) for (let i = this.random.between(1, 6); i > 0; i--) this.appendPlain()
      else if (kind < 0.7) this.wait(this.appendId(`${this.journal.writer}-${this.made++}`))
      else if (kind < 0.75) this.wait(this.appendId(`joint-${Math.floor(Date.now() / JOINT_MS)}`))
      else if (kind < 0.8) this.wait(this.appendAgain())
      else if (kind < 0.9) this.appendBatch()
      else if (kind < 0.94) this.setContext()
      else if (kind < 0.95) this.appendLarge()
      else this.checkpoint()
    }
  }

  async generate(): Promise<void> {
    while (!this.finished()) {
      const total = this.random.between(20, 300)
      const joint = `joint-${Math.floor(Date.now() / JOINT_MS)}-150`
      await this.run(this.random.chance(0.15) ? joint : `s-${this.journal.writer}-${this.made++}-${total}`)
      await pause(this.random.between(0, 500))
    }
  }

  /** Stops and takes over streams of anyone, resumes, and looks at what is there. */
  async meddle(): Promise<void> {
    while (!this.finished()) {
      await pause(this.random.between(200, 1500))
      const kind = this.random.next()
      if (kind < 0.3) await this.stopOne()
      else if (kind < 0.6) await this.takeOver()
      else if (kind < 0.8) await this.resume()
      else if (this.agent.trims) await this.trim()
      else await this.stopUnborn()
    }
  }

  /** Waits until everything is acknowledged, and leaves. */
  async end(): Promise<void> {
    await Promise.all(this.pending)
    await this.journal.attempt('close', () => this.session.close())
  }

  /** What reading back what is older may be refused with. */
  private get trimmed(): string[] {
    return this.agent.trims ? ['TRIMMED'] : []
  }

  private wait(operation: Promise<void>): void {
    this.pending.add(operation)
    void operation.finally(() => this.pending.delete(operation))
  }

  private pad(): string {
    return this.random.chance(0.02)
      ? 'p'.repeat(this.random.between(1_000, 20_000))
      : 'p'.repeat(this.random.between(0, 80))
  }

  private store(values: readonly Marked[], send: () => Promise<{ offset: number }>, last = false): void {
    this.wait(
      this.journal.attempt('append', send).then((stored) => {
        if (stored === null) return
        this.journal.stored(values, this.session.epoch, last ? stored.offset - values.length + 1 : stored.offset)
      }),
    )
  }

  private appendPlain(): void {
    const values = this.journal.values([this.pad()])
    this.store(values, () => this.session.append(values[0]))
  }

  private appendLarge(): void {
    const value = this.journal.large('l'.repeat(this.random.between(...LARGE_BYTES)))
    this.store([value], () => this.session.append(value))
  }

  private appendBatch(): void {
    const values = this.journal.values(Array.from({ length: this.random.between(2, 5) }, () => this.pad()))
    this.store(values, () => this.session.appendAll(values))
  }

  private setContext(): void {
    const values = this.journal.values([this.pad()])
    const { context } = this.session
    if (this.random.chance(0.5)) this.store(values, () => context.set(`c-${this.agent.name}`, values[0]))
    else this.store(values, () => context.append('c-all', values[0]))
  }

  private checkpoint(): void {
    const values = this.journal.values(Array.from({ length: this.random.between(1, 3) }, () => this.pad()))
    const records = values.slice(0, -1)
    const state = values.at(-1)
    this.store(values, () => this.session.checkpoint(`p-${this.agent.name}`, state, { records }), true)
  }

  private async appendId(id: string): Promise<void> {
    const values = this.journal.values([this.pad()], id)
    const stored = await this.journal.attempt('append', () => this.session.append(values[0], { id }))
    if (stored === null) return
    this.journal.stored(values, this.session.epoch, stored.offset)
    this.ids.push({ id, offset: stored.offset })
    if (this.ids.length > KEPT_IDS) this.ids.shift()
  }

  /** An id that is stored is stored no second time; unless it was trimmed. */
  private async appendAgain(): Promise<void> {
    if (this.ids.length === 0 || this.agent.trims) return
    const known = this.random.pick(this.ids)
    const values = this.journal.values([this.pad()], known.id)
    const stored = await this.journal.attempt('append', () => this.session.append(values[0], { id: known.id }))
    if (stored === null) return
    if (stored.offset !== known.offset) {
      this.journal.wrong(`id ${known.id} was stored at ${known.offset}, and again at ${stored.offset}`)
    }
    this.journal.stored(values, this.session.epoch, stored.offset)
  }

  /** Runs a stream to its end, here or elsewhere. */
  private async run(streamId: string): Promise<void> {
    this.journal.add(['stream', streamId])
    const failsAt = this.random.chance(0.1) ? this.random.between(0, totalOf(streamId)) : Number.POSITIVE_INFINITY
    const generate = () => this.session.generate(streamId, (stream) => this.write(stream, failsAt))
    const result = await this.journal.attempt(`generate ${streamId}`, generate, ...this.trimmed)
    if (result === null) return
    const { end, parts } = result
    if (!isBeginning(streamId, parts)) this.journal.wrong(`the result of ${streamId} is not what was written`)
    if (end === 'done' && tokensIn(Object.values(parts)) !== totalOf(streamId)) {
      this.journal.wrong(`stream ${streamId} is done with ${tokensIn(Object.values(parts))} tokens`)
    }
    this.ended(streamId, end, tokensIn(Object.values(parts)), null)
  }

  /** Goes on where the stream stands, until its end or as far as it is told. */
  private async write(stream: StreamWriter, failsAt: number, most = Number.POSITIVE_INFINITY): Promise<void> {
    if (!isBeginning(stream.id, Object.fromEntries(stream.parts))) {
      this.journal.wrong(`stream ${stream.id} was taken over with what was not written`)
    }
    const first = tokensIn(stream.parts.values())
    const to = Math.min(totalOf(stream.id), first + most)
    for (let i = first; i < to; i++) {
      if (i === failsAt) throw new Error('the model has failed')
      if (!stream.write(piece(stream.id, i), { part: partOf(i) })) await stream.ready
      if (this.random.chance(0.1)) await pause(this.random.between(0, 60))
      if (!this.random.chance(0.04)) continue
      await stream.flush()
      this.journal.add(['tokens', stream.id, i + 1])
    }
    await stream.flush()
    this.journal.add(['tokens', stream.id, to])
    this.journal.count(to - first)
  }

  private ended(streamId: string, state: string, count: number | null, offset: number | null): void {
    this.journal.add(['end', streamId, state, count, offset])
    this.journal.count(1)
  }

  /** A stream of anyone that is open now. */
  private async openOne(): Promise<string | null> {
    const topic = await this.journal.attempt('describe', () => this.session.describe())
    const open = (topic?.streams ?? []).filter(({ state }) => !ENDS.includes(state))
    return open.length === 0 ? null : this.random.pick(open).streamId
  }

  private async stopOne(): Promise<void> {
    const streamId = await this.openOne()
    if (streamId !== null) await this.stop(streamId)
  }

  private async stop(streamId: string): Promise<void> {
    this.journal.add(['stream', streamId])
    const streams = await this.journal.attempt('stop', () => this.session.stop(streamId, { reason: 'enough' }))
    for (const { state } of streams ?? []) {
      if (ENDS.includes(state)) this.ended(streamId, state, null, null)
      else this.journal.wrong(`stream ${streamId} is ${state} behind its stop`)
    }
  }

  /** A stream that is stopped before it began never begins. */
  private async stopUnborn(): Promise<void> {
    const streamId = `s-${this.journal.writer}-${this.made++}-10`
    await this.stop(streamId)
    await this.run(streamId)
  }

  private async takeOver(): Promise<void> {
    const streamId = await this.openOne()
    if (streamId === null) return
    this.journal.add(['stream', streamId])
    const stream = await this.journal.attempt(
      'continue',
      () => this.session.continue(streamId),
      'STREAM_ENDED',
      ...this.trimmed,
    )
    if (stream === null) return
    const isOver = ['FENCED', 'STREAM_STOPPED', 'STREAM_ENDED']
    const write = async (): Promise<void> => {
      await this.write(stream, Number.POSITIVE_INFINITY, this.random.between(1, 20))
      if (this.random.chance(0.5)) {
        const { offset } = await stream.fail('enough')
        this.ended(streamId, 'failed', null, offset)
      } else {
        // A writer that hangs: its former one is shut out until somebody stops it.
        await pause(this.random.between(0, 3_000))
        await this.stop(streamId)
      }
    }
    await this.journal.attempt(`take over ${streamId}`, write, ...isOver)
  }

  private async resume(): Promise<void> {
    const { cursor } = this.session
    const resumed = await this.journal.attempt('resume', () => this.session.resume({ cursor }))
    if (resumed === null) return
    if (resumed.outcome !== 'continued' && !this.agent.trims) this.journal.wrong(`resumed as ${resumed.outcome}`)
  }

  private async trim(): Promise<void> {
    const topic = await this.journal.attempt('describe', () => this.session.describe())
    const before = (topic?.nextOffset ?? 0) - TRIM_KEEPS
    if (before <= 0) return
    this.journal.add(['trim', before])
    await this.journal.attempt('trim', () => this.session.trim({ before }))
  }
}
