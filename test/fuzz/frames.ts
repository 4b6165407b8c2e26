/** Frames as a client might send them, of every type: valid each by itself, in no sensible order. */

import {
  ByteWriter,
  encodeFrame,
  formatCursor,
  type RecordData,
  UP,
  type UP_FRAMES,
  type UpFrame,
  writeAppendEntry,
  writeCheckpoint,
  writeContext,
  writeMessage,
  writeStream,
  writeToken,
} from '../../protocol/index.ts'
import type { Random } from '../random.ts'
import { mutate } from './mutate.ts'

const HANDLES = 4
const NUMBERS = [0, 1, 2, 3, 7, 255, 65_536, 2 ** 31, 2 ** 32 - 1]
const CURSOR = formatCursor({ incarnation: '0123456789ab', epoch: 4096, next: 3 })
const TEXTS = ['', 'a', 'text', 'reply-1', 'é😀', '\u0000', 'x'.repeat(255), 'x'.repeat(300)]

const handle = (random: Random): number => random.between(0, HANDLES - 1)
const request = (random: Random): number => random.between(1, 1000)
const number = (random: Random): number => (random.chance(0.7) ? random.between(0, 9) : random.pick(NUMBERS))
const id = (random: Random): string => (random.chance(0.9) ? `s${random.between(0, 9)}` : random.pick(TEXTS))
const topic = (random: Random): string => (random.chance(0.95) ? `fuzz/${random.between(0, 7)}` : random.pick(TEXTS))
const maybe = <T>(random: Random, value: () => T): T | undefined => (random.chance(0.4) ? value() : undefined)

type Maker = (random: Random) => readonly unknown[]

/** One for every type, so that a new frame is fuzzed from its first day. */
const MAKERS: { readonly [type in keyof typeof UP_FRAMES]: Maker } = {
  [UP.hello]: () => [1, { client: 'fuzz' }],
  [UP.token]: (r) => [request(r), 'token'],
  [UP.attach]: (r) => [request(r), handle(r), topic(r), attachOptions(r)],
  [UP.detach]: (r) => [request(r), handle(r)],
  [UP.append]: (r) => [appendEntries(r)],
  [UP.openStream]: (r) => [
    ...[request(r), handle(r), number(r) % 3, number(r), id(r)],
    r.pick(['create', 'continue', 'join']),
  ],
  [UP.stop]: (r) => [request(r), handle(r), r.chance(0.2) ? null : id(r), { reason: maybe(r, () => 'enough') }],
  [UP.closeTopic]: (r) => [
    ...[request(r), handle(r), number(r) % 3, number(r)],
    { records: maybe(r, () => new Uint8Array(r.between(0, 30))), count: maybe(r, () => number(r)) },
  ],
  [UP.trim]: (r) => [request(r), handle(r), number(r) % 3, number(r), { before: maybe(r, () => number(r)) }],
  [UP.policy]: (r) => [request(r), handle(r), { lingerMs: r.between(0, 2000), maxRecords: maybe(r, () => 100) }],
  [UP.subscribe]: (r) => [
    ...[request(r), handle(r), handle(r), from(r)],
    { raw: maybe(r, () => true), creditBytes: maybe(r, () => number(r) % 65_537) },
  ],
  [UP.unsubscribe]: (r) => [request(r), handle(r)],
  [UP.credit]: (r) => [handle(r), number(r) % 65_537],
  [UP.resume]: (r) => [
    ...[request(r), handle(r)],
    r.chance(0.5) ? { cursor: CURSOR } : { checkpoint: r.chance(0.5) ? null : id(r) },
  ],
  [UP.issueToken]: (r) => [request(r), { topic: topic(r), can: ['read'], forMs: maybe(r, () => number(r)) }],
  [UP.fork]: (r) => [
    ...[request(r), topic(r), topic(r)],
    { at: maybe(r, () => from(r)), epoch: maybe(r, () => number(r)), policy: maybe(r, () => ({ lingerMs: 1000 })) },
  ],
  [UP.describe]: (r) => [request(r), topic(r)],
  [UP.list]: (r) => [request(r), r.pick(['', 'fuzz', 'fuzz/1', '/']), { limit: maybe(r, () => r.between(0, 10)) }],
  [UP.delete]: (r) => [request(r), topic(r), null],
  [UP.checkpoints]: (r) => [request(r), handle(r), { before: maybe(r, () => number(r)) }],
  [UP.context]: (r) => [request(r), handle(r), { name: maybe(r, () => id(r)), asOf: maybe(r, () => number(r)) }],
  [UP.stream]: (r) => [request(r), handle(r), id(r)],
  [UP.upload]: (r) => [request(r), handle(r), id(r), { tag: 'bytes', size: maybe(r, () => number(r)) }],
  [UP.part]: (r) => [request(r), handle(r), id(r), number(r), number(r), new Uint8Array(r.between(0, 300))],
  [UP.abandon]: (r) => [request(r), handle(r), id(r)],
  [UP.fetch]: (r) => [request(r), handle(r), number(r), number(r), number(r) % 1000],
}

const TYPES = Object.keys(MAKERS).map(Number) as (keyof typeof UP_FRAMES)[]
/** Those without which the others come to nothing. */
const OFTEN = [UP.attach, UP.append, UP.append, UP.openStream] as const

/** A frame of any type but hello, and of some more often than of others. */
export function anyFrame(random: Random): Uint8Array {
  const type = random.chance(0.5) ? random.pick(OFTEN) : random.pick(TYPES)
  return frameOf(type === UP.hello && random.chance(0.95) ? UP.append : type, random)
}

export function frameOf(type: keyof typeof UP_FRAMES, random: Random): Uint8Array {
  return encodeFrame([type, ...MAKERS[type](random)] as unknown as UpFrame)
}

/** Some records; one in ten is no record. */
export function someRecords(random: Random): { bytes: Uint8Array; count: number } {
  const out = new ByteWriter(256)
  const count = random.between(1, 5)
  for (let i = 0; i < count; i++) writeAny(out, random, i)
  const bytes = out.copy()
  return {
    bytes: random.chance(0.1) ? mutate(bytes, random) : bytes,
    count: random.chance(0.98) ? count : number(random),
  }
}

/** What a writer that knows the protocol sends: its attaches first, then appends that are in sequence as far as it can tell. */
export class SoundWriter {
  private readonly random: Random
  private readonly producer: string
  private readonly sequences: number[] = []

  constructor(random: Random) {
    this.random = random
    this.producer = `w${random.between(0, 1_000_000)}`
  }

  attaches(): Uint8Array {
    const frames: Uint8Array[] = []
    for (let i = 0; i < HANDLES; i++) {
      this.sequences.push(0)
      const options = { producer: this.producer, policy: { lingerMs: 200 } }
      frames.push(encodeFrame([UP.attach, i + 1, i, `fuzz/${this.random.between(0, 63)}`, options]))
    }
    return Buffer.concat(frames)
  }

  append(): Uint8Array {
    const at = handle(this.random)
    const records = new ByteWriter(64)
    const count = this.random.between(1, 4)
    for (let i = 0; i < count; i++) {
      const name = id(this.random).slice(0, 255).replaceAll('\u0000', '0') || 'n'
      const value: RecordData = { tag: 'text', value: 'x'.repeat(this.random.between(0, 500)) }
      const kind = this.random.next()
      if (kind < 0.6) writeMessage(records, value, i === 0 && kind < 0.1 ? { id: name } : undefined)
      else if (kind < 0.8) writeContext(records, this.random.pick(['set', 'append', 'delete']), name, value)
      else writeCheckpoint(records, name, value)
    }
    const out = new ByteWriter(64)
    const sequence = this.sequences[at] ?? 0
    this.sequences[at] = sequence + 1
    writeAppendEntry(out, at, 0, sequence, -1, count, records.bytes, records.length)
    return encodeFrame([UP.append, out.copy()])
  }
}

function attachOptions(random: Random): object {
  return {
    create: maybe(random, () => random.chance(0.8)),
    epoch: random.chance(0.05) ? number(random) : undefined,
    observe: random.chance(0.1) ? true : undefined,
    exclusive: random.chance(0.05) ? true : undefined,
    producer: random.chance(0.8) ? `p${random.between(0, 20)}` : undefined,
    policy: maybe(random, () => ({ lingerMs: random.between(0, 1000) })),
  }
}

function from(random: Random): object {
  return random.pick([
    { start: true },
    { live: true },
    { last: number(random) },
    { timeMs: number(random) },
    { cursor: random.chance(0.5) ? CURSOR : id(random) },
    { offset: number(random) },
    { checkpoint: null },
    { checkpoint: id(random) },
    {},
    { start: true, live: true },
  ])
}

function appendEntries(random: Random): Uint8Array {
  const out = new ByteWriter(256)
  for (let i = random.between(1, 4); i > 0; i--) {
    const { bytes, count } = someRecords(random)
    const fence = random.chance(0.4) ? number(random) : -1
    writeAppendEntry(out, handle(random), number(random) % 3, number(random), fence, count, bytes, bytes.length)
  }
  const entries = out.copy()
  return random.chance(0.1) ? mutate(entries, random) : entries
}

function data(random: Random): RecordData {
  const kind = random.next()
  if (kind < 0.4) return { tag: 'text', value: random.pick(TEXTS) }
  if (kind < 0.6) return { tag: 'json', value: random.pick(['null', '[1,2]', '{"a":"b"}', '{', '', 'nul']) }
  return { tag: 'bytes', value: new Uint8Array(random.between(0, 40)).fill(random.between(0, 255)) }
}

function writeAny(out: ByteWriter, random: Random, i: number): void {
  const kind = random.next()
  const extras = random.chance(0.2) ? { id: id(random).slice(0, 255), trace: maybe(random, () => 'trace') } : undefined
  if (kind < 0.4)
    writeToken(
      out,
      id(random).slice(0, 255),
      random.pick(['text', 'reasoning', '']),
      data(random),
      i > 0 && random.chance(0.5),
    )
  else if (kind < 0.7) writeMessage(out, data(random), extras)
  else if (kind < 0.8)
    writeContext(out, random.pick(['set', 'append', 'delete']), id(random).slice(0, 255), data(random), extras)
  else if (kind < 0.9) writeCheckpoint(out, id(random).slice(0, 255), data(random), extras)
  else
    writeStream(
      out,
      random.pick(['open', 'done', 'failed', 'lost', 'stopped', 'resumed']),
      id(random).slice(0, 255),
      data(random),
    )
}
