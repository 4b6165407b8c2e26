/** Readers: what they are given is compared with what everybody else saw at the same offsets, and must leave nothing out. */

import { LitetopicError, type Reader, type ReadFrom, type SessionRecord, type TokenRecord } from '../../client/index.ts'
import { parseCursor } from '../../protocol/index.ts'
import { tokenOf } from './folds.ts'
import { type EpochModel, textOf, tokenText } from './model.ts'
import type { Random } from './random.ts'
import type { SimSession } from './sessions.ts'
import type { System } from './system.ts'

/** Where a reader stood; another one may read on there. */
export interface Place {
  readonly name: string
  readonly epoch: number
  readonly cursor: string
  readonly next: number
}

/** Where a reader begins, and the first offset that it may then be given; a cursor of another epoch leads nowhere. */
interface Start {
  readonly from: ReadFrom
  readonly least: number
  readonly most: number
  readonly recreated: boolean
}

/** From the first record that is kept: -1 stands for that. */
const FROM_START: Start = { from: 'start', least: 0, most: -1, recreated: false }

export class SimReader {
  readonly session: SimSession
  readonly raw: boolean
  /** What it was given so far reaches to here; -1 while it does not know where it begins. */
  next = -1
  over = false
  private readonly system: System
  private readonly random: Random
  private readonly epoch: EpochModel
  private readonly from: ReadFrom
  private readonly label: string
  private readonly reader: Reader<SessionRecord> | Reader<SessionRecord[]>
  /** Between two reads, in ms; 0 reads as fast as it can. */
  private paceMs: number
  /** The first offset it may begin with, and the last; cursors of other epochs lead nowhere. */
  private readonly expected: { least: number; most: number; recreated: boolean }

  /** Begins at one of the places, or where chance has it; `whole` reads runs from the start. */
  constructor(system: System, session: SimSession, random: Random, places: readonly Place[] | 'whole') {
    this.system = system
    this.session = session
    this.random = random
    this.epoch = session.epoch
    const whole = places === 'whole'
    this.raw = !whole && random.chance(0.6)
    this.paceMs = whole
      ? 0
      : random.weighted([
          [5, 0],
          [2, random.between(1, 20)],
          [1, random.between(20, 500)],
        ])
    const { from, least, most, recreated } = whole ? FROM_START : this.start(places)
    this.from = from
    this.expected = { least, most, recreated }
    const credit = random.weighted([
      [3, 1],
      [3, random.int(2, 300)],
      [4, 1_048_576],
    ])
    const options = { from, raw: this.raw, creditBytes: credit }
    this.label = `reader ${system.model.number()} (${this.raw ? 'raw' : 'runs'}) of ${session.label}`
    this.reader = this.raw ? session.session.records(options) : session.session.batches(options)
    system.world.note(`${this.label} from ${JSON.stringify(from)?.slice(-20)} credit ${credit}`)
    void this.run()
  }

  /** Where another one can read on. */
  get place(): Place | null {
    const { cursor } = this.reader
    if (cursor === null || this.next < 0) return null
    return { name: this.epoch.name, epoch: this.epoch.epoch, cursor, next: this.next }
  }

  /** Has it been given all that there is? One that has been given nothing cannot say. */
  get isBehind(): boolean {
    return !this.over && this.next >= 0 && this.next < this.epoch.log.length
  }

  get name(): string {
    return `${this.label} at ${this.next} of ${this.epoch.log.length}`
  }

  hurry(): void {
    this.paceMs = 0
  }

  /** Leaves the loop. */
  leave(): void {
    this.over = true
    void this.reader.return()
  }

  private start(places: readonly Place[]): Start {
    const { random, epoch } = this
    const anywhere = { least: 0, most: Number.POSITIVE_INFINITY, recreated: false }
    const place = places.length > 0 && random.chance(0.6) ? random.pick(places) : null
    if (place !== null) {
      const recreated = place.epoch !== epoch.epoch
      return { from: { cursor: place.cursor }, least: place.next, most: place.next, recreated }
    }
    const offset = random.int(0, epoch.log.length)
    return random.weighted<Start>([
      [6, FROM_START],
      [2, { ...anywhere, from: 'live' as const }],
      [1, { ...anywhere, from: { last: random.int(0, 20) } }],
      [2, { from: { offset }, least: offset, most: offset, recreated: false }],
      [1, { ...anywhere, from: { checkpoint: 'latest' } }],
    ])
  }

  private async run(): Promise<void> {
    const { process } = this.session.agent
    try {
      for (;;) {
        const { done, value } = await this.reader.next()
        if (!process.alive || this.over) return
        if (done === true) return this.ended('')
        if (Array.isArray(value)) this.tookBatch(value)
        else this.tookRecord(value)
        if (this.paceMs > 0) await process.sleep(this.random.between(0, 2 * this.paceMs))
      }
    } catch (error) {
      if (!process.alive || this.over) return
      if (!(error instanceof LitetopicError)) return this.violated(`${error instanceof Error ? error.stack : error}`)
      this.ended(error.code)
    }
  }

  private ended(code: string): void {
    const { epoch, expected } = this
    this.over = true
    this.system.world.note(`${this.label} ends at ${this.next}: ${code}`)
    switch (code) {
      case 'CONNECTION_CLOSED':
        return
      case '':
        // There is no more, for ever.
        epoch.closed(this.next < 0 ? parseCursor(this.reader.cursor ?? '').next : this.next, this.label)
        return
      case 'GONE':
      case 'RECREATED':
        if (code === 'RECREATED' && expected.recreated) return
        epoch.gone(this.label)
        return
      case 'TRIMMED': {
        const at = this.next < 0 ? expected.least : this.next
        if (epoch.trimAsked <= at) this.violated(`TRIMMED at ${at}, and nobody trimmed beyond ${epoch.trimAsked}`)
        return
      }
      case 'CHECKPOINT_UNKNOWN':
        if (typeof this.from === 'object' && 'checkpoint' in this.from) return
        break
    }
    this.violated(`ends with ${code}`)
  }

  /** The first offset given must be the one asked for; each next one follows. */
  private follows(offset: number): void {
    const { expected, epoch } = this
    if (expected.recreated) this.violated(`reads on across an incarnation`)
    if (this.next >= 0) {
      if (offset !== this.next) this.violated(`is given ${offset} where ${this.next} is next`)
      return
    }
    // From the start means from the first one kept.
    const most = expected.most < 0 ? epoch.trimAsked : expected.most
    if (offset < expected.least || offset > most) this.violated(`begins with ${offset}`)
  }

  private tookRecord(record: SessionRecord): void {
    this.follows(record.offset)
    this.know(record)
    this.next = record.lastOffset + 1
    if (parseCursor(record.cursor).next !== this.next) this.violated(`the cursor of ${record.offset} is wrong`)
  }

  /** Records of one contiguous range, in which runs of parallel streams overlap. */
  private tookBatch(records: readonly SessionRecord[]): void {
    const to = parseCursor(this.reader.cursor ?? '').next
    const count = records.reduce((sum, record) => sum + (record.kind === 'token' ? record.count : 1), 0)
    this.follows(to - count)
    const from = to - count
    this.next = to
    for (const record of records) {
      const isWithin = record.offset >= from && record.lastOffset < to
      if (!isWithin) this.violated(`is given ${record.offset} to ${record.lastOffset} in the range ${from} to ${to}`)
      if (record.kind === 'token' && record.count > 1) this.laterRun(record)
      else this.know(record)
    }
  }

  private know(record: SessionRecord): void {
    this.epoch.know(record.offset, textOf(record), this.label)
  }

  /** The tokens of a run are those of its stream and part between its ends. */
  private laterRun(run: TokenRecord): void {
    const { offset, lastOffset, streamId, part, count, text = '', sizes = [] } = run
    const { epoch } = this
    if (offset === lastOffset + 1 - count) this.knowAll(run)
    const check = (log: readonly (string | undefined)[]): string | null => {
      const between = log.slice(offset, lastOffset + 1)
      if (between.includes(undefined)) return null
      const tokens = between.map((known) => tokenOf(known as string))
      const own = tokens.filter((token) => token?.streamId === streamId && token.part === part)
      const whole = own.map((token) => token?.text).join('')
      const isSame = whole === text && own.length === count && own.every((token, i) => token?.text.length === sizes[i])
      return isSame ? null : `the run ${text} of ${count}, and not ${whole}`
    }
    epoch.later(`${this.label}: run of ${streamId} from ${offset} to ${lastOffset}`, check)
  }

  /** A run with nothing in between says what is at each offset. */
  private knowAll({ offset, streamId, part, text = '', sizes = [] }: TokenRecord): void {
    let at = 0
    sizes.forEach((size, i) => {
      this.epoch.know(offset + i, tokenText(streamId, part, text.slice(at, at + size)), this.label)
      at += size
    })
  }

  private violated(what: string): void {
    this.system.world.violated(`${this.label} ${what}`)
  }
}
