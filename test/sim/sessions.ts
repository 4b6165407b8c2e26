/** A session of an agent: each verb, told to the model before it is called, and what the broker answers compared with it. */

import type { Session, Stored, StreamWriter } from '../../client/index.ts'
import { parseCursor } from '../../protocol/index.ts'
import { contextValues, partsOf } from './folds.ts'
import { checkpointText, contextText, type EpochModel, messageText, type Sent, streamText, tokenText } from './model.ts'
import type { Random } from './random.ts'
import type { Agent, System } from './system.ts'

const PARTS = ['text', 'text', 'text', 'reasoning'] as const
export const CONTEXT_NAMES = ['goal', 'plan', 'notes'] as const
const CHECKPOINT_NAMES = ['step', 'answered'] as const
const FILL = '.'

/** What a call can be refused with because of what others do to its stream. */
const STREAM_ERRORS = ['FENCED', 'STREAM_ENDED', 'STREAM_STOPPED', 'STREAM_UNKNOWN', 'BUFFER_FULL'] as const
/** What opening one can be refused with; streams may be stopped before they are opened. */
const OPEN_ERRORS = [...STREAM_ERRORS, 'STREAM_EXISTS', 'LIMIT_EXCEEDED'] as const
/** What a request meets while the disk cannot be read. */
const READ_ERRORS = ['STORE_UNAVAILABLE'] as const

/** A writer, and what it has written. */
export interface Writing {
  readonly writer: StreamWriter
  readonly tokens: Sent[]
  over: boolean
}

export class SimSession {
  readonly agent: Agent
  readonly session: Session
  readonly epoch: EpochModel
  readonly id: number
  readonly writers = new Set<Writing>()
  over = false
  /** Cannot write, and does not hold its topic. */
  observes = false
  private readonly system: System
  private readonly random: Random
  private serial = 0

  constructor(system: System, agent: Agent, session: Session, epoch: EpochModel, random: Random) {
    this.system = system
    this.agent = agent
    this.session = session
    this.epoch = epoch
    this.random = random
    this.id = system.model.number()
  }

  get label(): string {
    return `session ${this.id} of ${this.epoch.label}`
  }

  get usable(): boolean {
    return this.agent.process.alive && !this.over
  }

  append(): void {
    const value = this.value()
    const sent = [this.send(messageText(value))]
    this.store('append', sent, () => this.session.append(value), 'first')
  }

  /** With one of few ids, which others use too, always for the same value. */
  appendOnce(): void {
    const id = `id-${this.random.int(0, 5)}`
    const value = { once: id }
    const sent = [this.send(messageText(value, id), { shared: true })]
    this.store(`append ${id}`, sent, () => this.session.append(value, { id }), 'first')
  }

  appendAll(): void {
    const values = Array.from({ length: this.random.int(2, 5) }, () => this.value())
    const append = this.system.model.number()
    const sent = values.map((value) => this.send(messageText(value), { append }))
    this.store(`append ${values.length}`, sent, () => this.session.appendAll(values), 'first')
  }

  checkpoint(): void {
    const name = this.random.pick(CHECKPOINT_NAMES)
    const state = { k: this.system.model.number() }
    const records = Array.from({ length: this.random.int(0, 2) }, () => this.value())
    const append = this.system.model.number()
    const sent = records.map((value) => this.send(messageText(value), { append }))
    sent.push(this.send(checkpointText(name, state), { append }))
    this.store(`checkpoint ${name}`, sent, () => this.session.checkpoint(name, state, { records }), 'last')
  }

  context(): void {
    const name = this.random.pick(CONTEXT_NAMES)
    const op = this.random.weighted([
      [3, 'set'],
      [5, 'append'],
      [1, 'delete'],
    ] as const)
    const k = this.system.model.number()
    const value = this.random.chance(0.7) ? `${k};` : { k }
    const { context } = this.session
    const sent = [this.send(contextText(op, name, op === 'delete' ? null : value))]
    const make = { set: () => context.set(name, value), append: () => context.append(name, value) }
    this.store(`${op} ${name}`, sent, op === 'delete' ? () => context.delete(name) : make[op], 'first')
  }

  /** Asks for the context as it was before some offset. */
  contextAsOf(): void {
    const { epoch } = this
    const asOf = this.random.int(0, epoch.log.length)
    const sinceMs = this.system.world.nowMs
    this.call(
      `context as of ${asOf}`,
      () => this.session.context.entries({ asOf }),
      READ_ERRORS,
      (entries) => {
        epoch.used(sinceMs)
        // What a later version has replaced goes with what is trimmed.
        if (epoch.trimAsked > asOf) return
        const found = JSON.stringify([...entries])
        epoch.later(`${this.label}: context as of ${asOf}`, (log) => {
          const expected = contextValues(log, asOf)
          return expected === null || expected === found ? null : `${found}, and not ${expected}`
        })
      },
    )
  }

  resume(): void {
    const { epoch } = this
    const cursor = this.random.chance(0.4) ? this.session.cursor : null
    const make = () => this.session.resume(cursor === null ? {} : { cursor })
    const sinceMs = this.system.world.nowMs
    // Of a checkpoint that is trimmed while it is read.
    const allowed = [...READ_ERRORS, 'CHECKPOINT_UNKNOWN', 'TRIMMED']
    this.call('resume', make, allowed, (resumed) => {
      const { outcome, nextOffset, checkpoint } = resumed
      epoch.used(sinceMs)
      if (outcome === 'trimmed') {
        this.check(epoch.trimAsked > 0, () => 'resume says trimmed, and nobody trimmed')
        return
      }
      this.check(outcome === 'continued', () => `resume says ${outcome}`)
      if (checkpoint !== null) {
        epoch.know(checkpoint.offset, checkpointText(checkpoint.name, checkpoint.state), `${this.label}: resume`)
      }
      if (resumed.partial) return
      for (const stream of resumed.streams) {
        const found = JSON.stringify([...stream.parts].sort())
        epoch.later(`${this.label}: resume of ${stream.id} up to ${nextOffset}`, (log) => {
          const expected = partsOf(log, stream.id, nextOffset)
          return expected === null || expected === found ? null : `${found}, and not ${expected}`
        })
      }
    })
  }

  trim(): void {
    const { epoch } = this
    const before = this.random.int(0, epoch.log.length)
    epoch.trimAsked = Math.max(epoch.trimAsked, before)
    this.call(
      `trim ${before}`,
      () => this.session.trim({ before }),
      ['FENCED'],
      ({ firstOffset }) => {
        this.check(firstOffset <= epoch.trimAsked, () => `trim before ${before} cuts to ${firstOffset}`)
      },
    )
  }

  deleteTopic(): void {
    const { epoch, agent } = this
    epoch.deleteAsked = true
    // The topic may go while the session looks on; then its own call does not tell whose doing it was.
    agent.call(
      `${this.label} delete`,
      () => this.session.delete(),
      READ_ERRORS,
      () => {
        epoch.gone(this.label)
        this.over = true
      },
    )
  }

  /** Perhaps with the last records. Streams that are open end as stopped. */
  closeTopic(): void {
    const { epoch } = this
    epoch.closeAsked = true
    epoch.stopped.add('*')
    const records = Array.from({ length: this.random.int(0, 3) }, () => this.value())
    const append = this.system.model.number()
    const sent = records.map((value) => this.send(messageText(value), { append }))
    this.store(
      `close the topic with ${records.length}`,
      sent,
      async () => {
        const { offset, cursor } = await this.session.closeTopic({ records })
        epoch.closed(parseCursor(cursor).next, this.label)
        return { offset, cursor }
      },
      'first',
    )
  }

  stop(): void {
    const { epoch } = this
    const streams = [...epoch.opened]
    const all = streams.length === 0 || this.random.chance(0.2)
    const streamId = all ? undefined : this.random.pick(streams)
    epoch.stopped.add(streamId ?? '*')
    const make = () => this.session.stop(streamId, { reason: 'enough' })
    this.call(`stop ${streamId ?? 'all'}`, make, READ_ERRORS, (found) => {
      for (const { streamId: id, state } of found) {
        const ended = state === 'stopped' || state === 'done' || state === 'failed'
        this.check(ended, () => `stop leaves ${id} as ${state}`)
      }
    })
  }

  openStream(): void {
    const streamId = `s${this.system.model.number()}`
    this.epoch.opened.add(streamId)
    this.call(
      `open ${streamId}`,
      () => this.session.openStream(streamId),
      [...READ_ERRORS, ...OPEN_ERRORS, 'TRIMMED'],
      (writer) => this.opened(writer),
    )
  }

  /** Takes over a stream that somebody opened. */
  continue(): void {
    const streams = [...this.epoch.opened]
    if (streams.length === 0) return
    const streamId = this.random.pick(streams.slice(-6))
    const allowed = [...READ_ERRORS, ...STREAM_ERRORS, 'TRIMMED']
    this.call(
      `continue ${streamId}`,
      () => this.session.continue(streamId),
      allowed,
      (writer) => this.opened(writer),
    )
  }

  /** One of few ids, so that agents meet; each call writes some tokens if it is its turn. */
  generate(): void {
    const { epoch, random } = this
    const streamId = `g${random.int(0, 3)}`
    epoch.opened.add(streamId)
    const outcome = random.weighted([
      [5, 'returns'],
      [1, 'throws'],
    ] as const)
    const run = async (writer: StreamWriter, signal: AbortSignal): Promise<void> => {
      const writing = this.opened(writer)
      for (let count = random.int(0, 6); count > 0 && !signal.aborted && !writing.over; count--) {
        this.write(writing)
        await this.agent.process.sleep(random.between(0, 60))
      }
      writing.over = true
      const error = new Error(`failure ${this.system.model.number()}`)
      const detail = outcome === 'throws' ? { message: error.message } : null
      const place = { stream: streamId, fence: writer.fence }
      this.send(streamText(streamId, outcome === 'throws' ? 'failed' : 'done', detail), place)
      if (outcome === 'throws') throw error
    }
    const allowed = [...READ_ERRORS, 'TRIMMED', 'LIMIT_EXCEEDED', 'FENCED']
    this.call(
      `generate ${streamId}`,
      () => this.session.generate(streamId, run),
      allowed,
      ({ end, parts }) => {
        const found = JSON.stringify(Object.entries(parts).sort())
        epoch.later(`${this.label}: generate ${streamId}`, (log) => {
          const ends = log.filter((text) => text?.startsWith(`s ${streamId} ${end}`))
          if (ends.length === 0 && epoch.trimAsked === 0) return `the log has no end ${end} of ${streamId}`
          const expected = partsOf(log, streamId, log.length)
          return expected === null || expected === found ? null : `${found}, and not ${expected}`
        })
      },
    )
  }

  /** Writes a token, or several. */
  writeSome(): void {
    const writing = this.someWriter()
    if (writing === null) return
    for (let count = this.random.int(1, 12); count > 0 && !writing.over; count--) this.write(writing)
  }

  /** More than goes into one chunk, or one batch of runs. */
  writeMuch(): void {
    const writing = this.someWriter()
    if (writing === null) return
    for (let count = this.random.int(4, 9); count > 0 && !writing.over; count--) this.write(writing, 12_000)
  }

  flush(): void {
    const writing = this.someWriter()
    if (writing === null) return
    const tokens = [...writing.tokens]
    const make = () => writing.writer.flush()
    this.call(
      `flush ${writing.writer.id}`,
      make,
      STREAM_ERRORS,
      () => this.stored(tokens),
      () => {
        writing.over = true
      },
    )
  }

  endStream(writing: Writing | null = this.someWriter()): void {
    if (writing === null) return
    writing.over = true
    this.writers.delete(writing)
    const { writer } = writing
    const failure = this.random.chance(0.2)
    const detail = failure ? { message: `m${this.system.model.number()}` } : { k: this.system.model.number() }
    const place = { stream: writer.id, fence: writer.fence }
    const end = this.send(streamText(writer.id, failure ? 'failed' : 'done', detail), place)
    const make = () => (failure ? writer.fail(new Error(`${detail.message}`)) : writer.end({ k: detail.k as number }))
    this.call(`end ${writer.id}`, make, STREAM_ERRORS, ({ offset }) => {
      this.stored(writing.tokens)
      end.state = 'acknowledged'
      this.epoch.know(offset, end.text, this.label)
    })
  }

  close(): void {
    this.over = true
    this.agent.call(
      `${this.label} close`,
      () => this.session.close(),
      [...OPEN_ERRORS, 'CLOSED'],
      () => {},
    )
  }

  /** A writer was granted the stream: what it is told was written must be what was. */
  private opened(writer: StreamWriter): Writing {
    const { epoch } = this
    const writing: Writing = { writer, tokens: [], over: false }
    this.writers.add(writing)
    const known = epoch.fences.get(writer.fence)
    this.check(known === undefined || known.streamId === writer.id, () => `fence ${writer.fence} is of two streams`)
    epoch.fences.set(writer.fence, { streamId: writer.id, session: this.id, ended: false })
    const found = JSON.stringify([...writer.parts].sort())
    epoch.later(`${this.label}: text of ${writer.id} before ${writer.fence}`, (log) => {
      const expected = partsOf(log, writer.id, writer.fence)
      return expected === null || expected === found ? null : `${found}, and not ${expected}`
    })
    return writing
  }

  private someWriter(): Writing | null {
    for (const writing of this.writers) {
      if (!writing.over && !writing.writer.signal.aborted) continue
      writing.over = true
      this.writers.delete(writing)
    }
    return this.writers.size === 0 ? null : this.random.pick([...this.writers])
  }

  private write(writing: Writing, size = this.random.chance(0.02) ? this.random.int(100, 20_000) : 0): void {
    const { writer } = writing
    const part = this.random.pick(PARTS)
    const text = `${this.system.model.number()}${FILL.repeat(size)}|`
    const extra = { stream: writer.id, fence: writer.fence }
    const sent = this.record(tokenText(writer.id, part, text), extra)
    try {
      writer.write(text, { part })
      this.epoch.send(sent)
      writing.tokens.push(sent)
    } catch {
      // It is fenced, stopped or has no room: nothing was taken.
      writing.over = writer.signal.aborted
    }
  }

  private value(): { k: number; fill?: string } {
    const k = this.system.model.number()
    if (!this.random.chance(0.08)) return { k }
    return { k, fill: FILL.repeat(this.random.int(200, this.random.chance(0.3) ? 40_000 : 2000)) }
  }

  private record(text: string, extra: Partial<Sent> = {}): Sent {
    const append = this.system.model.number()
    const serial = ++this.serial
    const rest = { stream: null, fence: -1, shared: false, state: 'pending' as const }
    return { text, session: this.id, serial, append, ...rest, ...extra }
  }

  private send(text: string, extra: Partial<Sent> = {}): Sent {
    const sent = this.record(text, extra)
    this.epoch.send(sent)
    return sent
  }

  private stored(records: readonly Sent[]): void {
    for (const record of records) record.state = 'acknowledged'
  }

  /** Calls what stores the records, whose place the answer tells. */
  private store(what: string, sent: readonly Sent[], make: () => Promise<Stored>, which: 'first' | 'last'): void {
    const sinceMs = this.system.world.nowMs
    this.call(
      what,
      make,
      ['BUFFER_FULL', 'FENCED'],
      ({ offset }) => {
        if (sent.length > 0) this.epoch.used(sinceMs)
        const first = which === 'first' ? offset : offset - sent.length + 1
        for (const [i, { text }] of sent.entries()) this.epoch.know(first + i, text, this.label)
        this.stored(sent)
      },
      (code) => {
        // What ends the session does not say whether it was stored.
        for (const record of sent) if (code === 'BUFFER_FULL' || code === 'CLOSED') record.state = 'refused'
      },
    )
  }

  private check(holds: boolean, what: () => string): void {
    this.system.world.check(holds, () => `${this.label}: ${what()}`)
  }

  private call<T>(
    what: string,
    make: () => Promise<T>,
    allowed: readonly string[],
    done: (value: T) => void,
    refused: (code: string) => void = () => {},
  ): void {
    const sinceMs = this.system.world.nowMs
    const answered = (value: T): void => {
      if (!this.observes) this.epoch.held(sinceMs, this.label)
      done(value)
    }
    // One that is closed meanwhile may refuse it.
    const mayBe = (): readonly string[] => (this.epoch.closeAsked ? [...allowed, 'CLOSED'] : allowed)
    this.agent.call(`${this.label} ${what}`, make, mayBe, answered, (code) => {
      refused(code)
      if (code !== 'GONE' && code !== 'RECREATED') return
      this.over = true
      this.epoch.gone(this.label)
    })
  }
}
