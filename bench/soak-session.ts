/** One session of `soak`, from its creation until everybody has left it, with whatever befalls it. Which of that is told by its number. */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Session, StreamResult, StreamWriter } from '../client/index.ts'
import { Client } from './soak-network.ts'
import { type Marked, Reading } from './soak-reading.ts'
import { TOKEN_BYTES, tokenText } from './token-load.ts'

export interface SoakTimes {
  /** Between two writes of a stream, each of a few tokens. */
  readonly paceMs: number
  /** Longer than the grace of a stream: its writer is `lost` after that. */
  readonly lostMs: number
  /** Longer than a topic stays in memory, shorter than its linger. */
  readonly dormantMs: number
  readonly largeBytes: number
  /** Of the prefix: how long a session is kept that nobody holds. */
  readonly lingerMs: number
  /** May the linger be shorter than what a slow machine takes to connect again? Then each session is held until it is over. */
  readonly holdsAll: boolean
}

/** How often what happened. */
export type SoakCounts = {
  sessions: number
  tokens: number
  connectionsDropped: number
  readersReplaced: number
  writersReplaced: number
  streamsStopped: number
  streamsLost: number
  sessionsDormant: number
  sessionsDeleted: number
  largeMessages: number
}

export function soakCounts(): SoakCounts {
  return {
    sessions: 0,
    tokens: 0,
    connectionsDropped: 0,
    readersReplaced: 0,
    writersReplaced: 0,
    streamsStopped: 0,
    streamsLost: 0,
    sessionsDormant: 0,
    sessionsDeleted: 0,
    largeMessages: 0,
  }
}

/** What all sessions share. */
export interface SoakWorld {
  readonly url: string
  readonly times: SoakTimes
  /** Clients that live as long as the run; each writes many sessions. */
  readonly agents: readonly Client[]
  readonly counts: SoakCounts
}

const STREAM = 'reply'
const TOKENS_PER_WRITE = 3
/** The linger of a session that must outlive its clients, until it is over. */
const HELD_MS = 600_000

/** What befalls a session. */
interface Plan {
  readonly tokens: number
  /** In the middle of the stream. */
  readonly middle: 'drop' | 'replaceReader' | 'stop' | 'replaceWriter' | 'lose' | 'nothing'
  readonly sendsTwice: boolean
  readonly hasLarge: boolean
  readonly goesDormant: boolean
  readonly ending: 'delete' | 'close' | 'vanish'
  readonly readsRaw: boolean
  /** Is it held by a linger of its own, because everybody leaves it for a while? */
  readonly isHeld: boolean
}

const MIDDLES = ['drop', 'replaceReader', 'stop', 'replaceWriter', 'nothing'] as const

export function planOf(number: number): Plan {
  const middle = number % 40 === 26 ? 'lose' : (MIDDLES[number % MIDDLES.length] ?? 'nothing')
  const goesDormant = number % 23 === 8
  return {
    tokens: 30 + (number % 7) * 20,
    middle,
    sendsTwice: number % 6 === 0,
    hasLarge: number % 97 === 13,
    goesDormant,
    ending: number % 11 === 2 ? 'delete' : number % 2 === 0 ? 'close' : 'vanish',
    readsRaw: number % 3 === 0,
    isHeld: middle === 'lose' || goesDormant,
  }
}

/** Rejects if a reader gets anything but what was written. */
export async function liveSession(number: number, world: SoakWorld): Promise<void> {
  const life = new Life(number, world)
  try {
    await life.run()
    world.counts.sessions++
  } catch (error) {
    throw new Error(`session ${number} (${JSON.stringify(planOf(number))})`, { cause: error })
  } finally {
    await life.end()
  }
}

class Life {
  private readonly name: string
  private readonly plan: Plan
  private readonly world: SoakWorld
  private readonly number: number
  private marks = 0
  private reading = new Reading()
  private reader: Client
  /** Whoever writes now: one of the agents, or a client of its own that is going to vanish. */
  private writer: Client
  private session: Session<unknown> | null = null

  constructor(number: number, world: SoakWorld) {
    this.number = number
    this.name = `soak/${number}`
    this.plan = planOf(number)
    this.world = world
    this.reader = new Client(world.url)
    const { middle } = this.plan
    this.writer = middle === 'replaceWriter' || middle === 'lose' ? new Client(world.url) : this.agent()
  }

  async run(): Promise<void> {
    const { plan, world } = this
    const isHeld = plan.isHeld || world.times.holdsAll
    await this.attach(isHeld ? HELD_MS : undefined)
    await this.message()
    await this.open.context.set('model', this.mark('a model'))
    this.read()
    await this.stream()
    await this.open.checkpoint('answered', this.mark('answered'))
    if (plan.hasLarge) await this.large()
    await this.open.context.append('notes', this.mark('a note'))
    await this.message()
    await this.reading.until(this.marks)
    if (plan.goesDormant) await this.dormancy()
    if (isHeld) await this.open.policy({ lingerMs: world.times.lingerMs })
    if (plan.ending === 'delete') {
      await this.reader.leave()
      await this.open.delete()
      world.counts.sessionsDeleted++
    }
  }

  /** Whatever has happened, nobody is left. */
  async end(): Promise<void> {
    const { reader, writer, world } = this
    await this.session?.close().catch(() => undefined)
    if (!world.agents.includes(writer) && !writer.gone) await writer.vanish()
    if (reader.gone) return
    await (this.plan.ending === 'vanish' ? reader.vanish() : reader.leave())
  }

  private agent(turn = 0): Client {
    const { agents } = this.world
    return agents[(this.number + turn) % agents.length] as Client
  }

  private get open(): Session<unknown> {
    if (this.session === null) throw new Error('the session is not open')
    return this.session
  }

  /** The linger is that of the prefix unless it is given, and this creates the topic. */
  private async attach(lingerMs?: number): Promise<void> {
    this.session = await this.writer.broker.session<unknown>(this.name, { lingerMs })
  }

  private mark(text: string): Marked & { readonly [key: string]: string | number } {
    return { mark: this.marks++, text }
  }

  private async message(): Promise<void> {
    const id = `message-${this.marks}`
    const value = this.mark('hello')
    const { offset } = await this.open.append(value, { id })
    if (!this.plan.sendsTwice) return
    const again = await this.open.append(value, { id })
    if (again.offset !== offset) throw new Error(`${id} was stored at ${offset} and again at ${again.offset}`)
  }

  private async large(): Promise<void> {
    await this.open.append(this.mark('x'.repeat(this.world.times.largeBytes)))
    this.world.counts.largeMessages++
  }

  /** Has the present reader read on until it is gone. What is wrong with what it gets is told by `reading`. */
  private read(): void {
    const { reader, reading } = this
    this.readAll(reader, reading).catch((error: unknown) => {
      if (!reader.gone) reading.fail(error)
    })
  }

  private async readAll(reader: Client, reading: Reading): Promise<void> {
    const session = await reader.broker.session<unknown>(this.name, { create: false })
    const from = reading.cursor ?? 'start'
    for await (const records of session.batches({ from, raw: this.plan.readsRaw })) {
      for (const record of records) {
        const large = record.kind === 'message' ? record.large : undefined
        const content = await large?.json()
        if (reader.gone) return
        reading.take(record, content)
      }
    }
  }

  /** Written to its end, by one writer or two. */
  private async stream(): Promise<void> {
    const { plan, reading, world } = this
    let result = await this.generate().catch((error: unknown) => {
      if (!this.writer.gone) throw error
      return null
    })
    if (result === null) {
      if (plan.middle === 'lose') await sleep(world.times.lostMs)
      this.writer = this.agent()
      if (this.reader.gone) {
        this.reader = new Client(world.url)
        this.read()
      }
      await this.attach()
      result = await this.generate()
    }
    const written = result.text.length / TOKEN_BYTES
    world.counts.tokens += written
    const expected = plan.middle === 'stop' ? 'stopped' : 'done'
    if (result.end !== expected) throw new Error(`the stream ended as ${result.end}, not as ${expected}`)
    if (expected === 'done' && written !== plan.tokens)
      throw new Error(`${written} of ${plan.tokens} tokens were stored`)
    // What follows the stream comes behind it.
    await this.open.context.set('written', this.mark(String(written)))
    await reading.until(this.marks)
    if (reading.tokens !== written) throw new Error(`the reader got ${reading.tokens} of ${written} tokens`)
    if (reading.states.at(-1) !== expected) throw new Error(`the reader saw ${reading.states.join(', ')}`)
    if (reading.states.includes('lost')) world.counts.streamsLost++
  }

  private generate(): Promise<StreamResult> {
    return this.open.generate(STREAM, async (stream, signal) => {
      let index = stream.text.length / TOKEN_BYTES
      while (index < this.plan.tokens && !signal.aborted) {
        for (let i = 0; i < TOKENS_PER_WRITE && index < this.plan.tokens; i++) {
          if (!stream.write(tokenText(index++))) await stream.ready
        }
        const isMiddle = !stream.resumed && Math.abs(index - this.plan.tokens / 2) <= TOKENS_PER_WRITE / 2
        if (isMiddle) await this.befall(stream)
        await sleep(this.world.times.paceMs)
      }
      signal.throwIfAborted()
    })
  }

  private async befall(stream: StreamWriter): Promise<void> {
    const { counts } = this.world
    switch (this.plan.middle) {
      case 'drop':
        counts.connectionsDropped++
        this.reader.drop()
        return
      case 'replaceReader':
        counts.readersReplaced++
        await this.reader.vanish()
        this.reader = new Client(this.world.url)
        this.read()
        return
      case 'stop': {
        counts.streamsStopped++
        const session = await this.reader.broker.session<unknown>(this.name, { create: false, observe: true })
        await session.stop(stream.id)
        await session.close()
        return
      }
      case 'replaceWriter':
      case 'lose':
        counts.writersReplaced++
        // What is not acknowledged when a client vanishes is in doubt, and closing it takes its time.
        if (this.number % 4 !== 0) await stream.flush()
        await this.writer.vanish()
        if (this.plan.middle === 'lose') await this.reader.vanish()
    }
  }

  /** Everybody leaves; after the topic has left memory two others come back, one at the checkpoint and one at the start. */
  private async dormancy(): Promise<void> {
    const { world, reading } = this
    await this.open.close()
    await this.reader.leave()
    await sleep(world.times.dormantMs)
    this.writer = this.agent(1)
    await this.attach()
    const { outcome, checkpoint, context } = await this.open.resume()
    if (outcome !== 'continued' || checkpoint === null) throw new Error(`resume said ${outcome}`)
    if (!context.has('model')) throw new Error('the context is gone')
    this.reader = new Client(world.url)
    this.reading = new Reading()
    this.read()
    await this.message()
    await this.reading.until(this.marks)
    if (this.reading.tokens !== reading.tokens)
      throw new Error(`${this.reading.tokens} of ${reading.tokens} tokens are left`)
    world.counts.sessionsDormant++
  }
}
