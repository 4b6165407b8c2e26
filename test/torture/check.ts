/**
 * The checker: holds the final log of one topic against what its writers and readers wrote down. It knows nothing of the
 * broker; all that it takes from it is the log as it is read at the end.
 */

import { digest, partOf, piece, totalOf } from './content.ts'
import type { Batch, LedgerLine, TranscriptLine } from './ledger.ts'

/** A record of the final log. */
export interface LogRecord {
  readonly what: string
  readonly digest: string
  /** The same of what a large message holds, which readers are not given with the record. */
  readonly content?: string
  readonly writer?: string
  readonly n?: number
  readonly id?: string
  readonly streamId?: string
  /** Of a stream record. */
  readonly state?: string
  /** Of a token. */
  readonly part?: string
  readonly text?: string
}

export interface TopicLog {
  readonly epoch: number
  readonly firstOffset: number
  /** From `firstOffset` on. */
  readonly records: readonly LogRecord[]
}

export type Count = 'acknowledged' | 'lost' | 'repeated' | 'reordered' | 'invented' | 'wrong'

/** What was found; `examples` tells of some, in words. */
export class Findings {
  readonly counts: Record<Count, number> = {
    acknowledged: 0,
    lost: 0,
    repeated: 0,
    reordered: 0,
    invented: 0,
    wrong: 0,
  }
  readonly examples: string[] = []
  private static readonly EXAMPLES = 40

  add(count: Count, example: string, number = 1): void {
    this.counts[count] += number
    if (this.examples.length < Findings.EXAMPLES) this.examples.push(`${count}: ${example}`)
  }

  get clean(): boolean {
    const { lost, repeated, reordered, invented, wrong } = this.counts
    return lost + repeated + reordered + invented + wrong === 0
  }

  toString(): string {
    const { acknowledged, lost, repeated, reordered, invented } = this.counts
    return `${acknowledged} acknowledged, ${lost} lost, ${repeated} repeated, ${reordered} reordered, ${invented} invented`
  }
}

interface Intent {
  readonly digest: string
  readonly id: string | null
  readonly batch: Batch | null
}

/** A stream as the log tells it. */
interface Told {
  /** The next token; -1 while it is not known, because its beginning was trimmed. */
  tokens: number
  state: string
  endOffset: number
}

const ENDS: readonly string[] = ['done', 'stopped', 'failed']

/** Holds the log against the ledgers of its writers. */
export function checkWriters(
  topic: string,
  log: TopicLog,
  ledgers: readonly (readonly LedgerLine[])[],
  found: Findings,
): void {
  const check = new WriterCheck(topic, log, found)
  for (const lines of ledgers) for (const line of lines) check.intended(line)
  for (const [at, record] of log.records.entries()) check.logged(record, log.firstOffset + at)
  check.batches()
  for (const lines of ledgers) for (const line of lines) check.acknowledged(line)
  check.countTokens()
}

class WriterCheck {
  private readonly topic: string
  private readonly log: TopicLog
  private readonly found: Findings
  private readonly intents = new Map<string, Intent>()
  private readonly streamIntents = new Set<string>()
  private trimmable = 0
  private readonly offsets = new Map<string, number>()
  private readonly ids = new Map<string, number>()
  private readonly newest = new Map<string, number>()
  private readonly streams = new Map<string, Told>()
  /** The most tokens that were acknowledged, by stream. */
  private readonly tokens = new Map<string, number>()

  constructor(topic: string, log: TopicLog, found: Findings) {
    this.topic = topic
    this.log = log
    this.found = found
  }

  intended(line: LedgerLine): void {
    if (line[0] === 'intent') {
      this.intents.set(`${line[1]}#${line[2]}`, { digest: line[3], id: line[4], batch: line[5] })
    } else if (line[0] === 'stream') this.streamIntents.add(line[1])
    else if (line[0] === 'trim') this.trimmable = Math.max(this.trimmable, line[1])
    else if (line[0] === 'wrong') this.add('wrong', line[1])
  }

  logged(record: LogRecord, offset: number): void {
    if (record.streamId !== undefined) this.loggedStream(record, record.streamId, offset)
    else this.loggedMarked(record, offset)
  }

  /** Records of one append are all there, side by side, or none is. */
  batches(): void {
    for (const [key, { batch }] of this.intents) {
      const offset = this.offsets.get(key)
      if (batch === null || offset === undefined) continue
      const writer = key.slice(0, key.indexOf('#'))
      const n = Number(key.slice(key.indexOf('#') + 1))
      for (let i = 0; i < batch[1]; i++) {
        const other = this.offsets.get(`${writer}#${batch[0] + i}`)
        const expected = offset - n + batch[0] + i
        if (other === expected || expected < this.log.firstOffset) continue
        this.add('lost', `${key} is at ${offset}, but ${batch[0] + i} of the same append is at ${other}`)
      }
    }
  }

  acknowledged(line: LedgerLine): void {
    if (line[0] === 'stored') this.checkStored(line)
    else if (line[0] === 'tokens') this.tokens.set(line[1], Math.max(this.tokens.get(line[1]) ?? 0, line[2]))
    else if (line[0] === 'end') this.checkEnd(line)
  }

  countTokens(): void {
    for (const [streamId, count] of this.tokens) {
      this.found.counts.acknowledged += count
      const stored = this.streams.get(streamId)?.tokens ?? 0
      if (stored >= count || stored < 0 || this.isGone(streamId)) continue
      this.add('lost', `stream ${streamId} has ${stored} tokens of ${count} acknowledged`, count - stored)
    }
  }

  private loggedMarked(record: LogRecord, offset: number): void {
    const key = `${record.writer}#${record.n}`
    const intent = this.intents.get(key)
    if (
      intent === undefined ||
      intent.digest !== (record.content ?? record.digest) ||
      intent.id !== (record.id ?? null)
    ) {
      this.add('invented', `${record.what} ${key} at ${offset} was never sent so`)
      return
    }
    const before = this.offsets.get(key) ?? (record.id === undefined ? undefined : this.ids.get(record.id))
    if (before !== undefined) {
      this.add('repeated', `${record.what} ${key} at ${before} and ${offset}`)
      return
    }
    this.offsets.set(key, offset)
    if (record.id !== undefined) this.ids.set(record.id, offset)
    const newest = this.newest.get(String(record.writer)) ?? -1
    if (Number(record.n) < newest) this.add('reordered', `${key} at ${offset}, behind ${newest} of the same writer`)
    this.newest.set(String(record.writer), Math.max(newest, Number(record.n)))
  }

  private loggedStream(record: LogRecord, streamId: string, offset: number): void {
    if (!this.streamIntents.has(streamId)) {
      this.add('invented', `${record.what} at ${offset}`)
      return
    }
    let told = this.streams.get(streamId)
    if (told === undefined) {
      // A stream may be born stopped; but where the log is trimmed, its beginning may be gone.
      const isBeginning = record.state === 'open' || (record.state === 'stopped' && this.log.firstOffset === 0)
      if (!isBeginning && this.log.firstOffset === 0) this.add('lost', `the beginning of stream ${streamId}`)
      const state = record.state === 'open' ? 'none' : 'open'
      told = { tokens: isBeginning ? 0 : -1, state, endOffset: -1 }
      this.streams.set(streamId, told)
    }
    if (ENDS.includes(told.state)) {
      this.add('repeated', `${record.what} at ${offset}, behind its end`)
      return
    }
    if (record.state === undefined) this.loggedToken(record, streamId, told, offset)
    else this.loggedState(record, record.state, told, offset)
  }

  private loggedToken(record: LogRecord, streamId: string, told: Told, offset: number): void {
    if (told.state === 'lost') this.add('invented', `${record.what} at ${offset}, while it was lost`)
    const index = record.text === piece(streamId, told.tokens) ? told.tokens : this.indexOf(record, streamId)
    if (told.tokens < 0) told.tokens = index
    if (index < 0) {
      this.add('invented', `${record.what} at ${offset}: ${record.text?.slice(0, 40)}`)
      return
    }
    if (record.part !== partOf(index)) this.add('invented', `token ${index} of ${streamId} in part ${record.part}`)
    if (index < told.tokens) {
      this.add('repeated', `token ${index} of ${streamId} again at ${offset}`)
      return
    }
    if (index > told.tokens) this.add('reordered', `token ${index} of ${streamId} at ${offset}, not ${told.tokens}`)
    told.tokens = index + 1
  }

  private loggedState(record: LogRecord, state: string, told: Told, offset: number): void {
    if (state === 'open' && told.state !== 'none') this.add('repeated', `${record.what} at ${offset}`)
    if (state === 'lost' && told.state === 'lost') this.add('repeated', `${record.what} at ${offset}`)
    told.state = state === 'resumed' ? 'open' : state
    if (ENDS.includes(state)) told.endOffset = offset
  }

  /** Which token of its stream it is; -1 if none. */
  private indexOf(record: LogRecord, streamId: string): number {
    for (let i = 0; i < totalOf(streamId); i++) if (piece(streamId, i) === record.text) return i
    return -1
  }

  private checkStored([, writer, n, epoch, offset]: Extract<LedgerLine, { 0: 'stored' }>): void {
    this.found.counts.acknowledged++
    const { log } = this
    const key = `${writer}#${n}`
    if (epoch === log.epoch && offset < log.firstOffset && log.firstOffset <= this.trimmable) return
    const id = this.intents.get(key)?.id ?? null
    const stored = this.offsets.get(key) ?? (id === null ? undefined : this.ids.get(id))
    if (epoch === log.epoch && stored === offset) return
    this.add('lost', `${key} was acknowledged at ${offset} of epoch ${epoch}, and is at ${stored} of ${log.epoch}`)
  }

  private checkEnd([, streamId, state, count, offset]: Extract<LedgerLine, { 0: 'end' }>): void {
    this.found.counts.acknowledged++
    const told = this.streams.get(streamId)
    if (told === undefined && this.isGone(streamId)) return
    if (told?.state !== state) {
      this.add('lost', `stream ${streamId} ended as ${state}, and is ${told?.state}`)
      return
    }
    if (offset !== null && told.endOffset !== offset) {
      this.add('lost', `stream ${streamId} ended at ${offset}, and that is at ${told.endOffset}`)
    }
    if (count !== null && told.tokens >= 0 && told.tokens !== count) {
      this.add('lost', `stream ${streamId} ended with ${count} tokens, and has ${told.tokens}`)
    }
  }

  /** May all of the stream have been trimmed? */
  private isGone(streamId: string): boolean {
    return this.log.firstOffset > 0 && this.log.firstOffset <= this.trimmable && !this.streams.has(streamId)
  }

  private add(count: Count, example: string, number = 1): void {
    this.found.add(count, `${this.topic}: ${example}`, number)
  }
}

/** Holds what one reader was given against the log. Returns how many records it was given. */
export function checkReader(
  reader: string,
  log: TopicLog,
  transcript: readonly TranscriptLine[],
  found: Findings,
): number {
  const seen = new Uint8Array(log.firstOffset + log.records.length)
  let position = 0
  let count = 0
  const add = (what: Count, example: string): void => found.add(what, `reader ${reader}: ${example}`)
  for (const [epoch, next, records, trimmed] of transcript) {
    if (epoch !== log.epoch) add('lost', `read epoch ${epoch}, and the topic has ${log.epoch}`)
    let newest = -1
    for (const [offset, lastOffset, tokens, what, content] of records) {
      count += tokens
      if (offset < position) add('repeated', `was given ${what} at ${offset} again`)
      if (offset <= newest) add('reordered', `was given ${what} at ${offset} behind ${newest}`)
      newest = Math.max(newest, offset)
      const expected = contentOf(log, seen, offset, lastOffset, what)
      if (expected === null) continue
      if (expected.isSeen) add('repeated', `was given ${what} at ${offset} twice`)
      if (expected.count !== tokens || expected.digest !== content) {
        add('invented', `was given ${what} at ${offset}, and ${log.records[offset - log.firstOffset]?.what} is there`)
      }
    }
    if (trimmed) seen.fill(1, 0, Math.min(next, log.firstOffset))
    position = next
  }
  for (let offset = log.firstOffset; offset < position; offset++) {
    if (seen[offset] !== 1) add('lost', `was not given offset ${offset}`)
  }
  return count
}

/** What the log has of that kind and stream between the offsets, marked as seen; null if some of it has been trimmed since. */
function contentOf(
  log: TopicLog,
  seen: Uint8Array,
  offset: number,
  lastOffset: number,
  what: string,
): { count: number; digest: string; isSeen: boolean } | null {
  let count = 0
  let text = ''
  let only = ''
  let isSeen = false
  for (let at = Math.max(offset, log.firstOffset); at <= lastOffset; at++) {
    const record = log.records[at - log.firstOffset]
    if (record?.what !== what) continue
    count++
    text += record.text ?? ''
    only = record.digest
    if (seen[at] === 1) isSeen = true
    seen[at] = 1
  }
  return offset < log.firstOffset ? null : { count, digest: count === 1 ? only : digest(text), isSeen }
}
