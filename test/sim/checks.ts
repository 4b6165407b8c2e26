/** What must hold of a whole log, once all of it is known: the promises of a topic, checked against what was sent into it. */

import { tokenOf } from './folds.ts'
import type { EpochModel, Sent } from './model.ts'

/** What is wrong with the log, of which offsets from `first` on are kept. */
export function faultsOf(epoch: EpochModel, first: number): string[] {
  const { log } = epoch
  const faults: string[] = []
  for (let offset = first; offset < log.length; offset++)
    if (log[offset] === undefined) faults.push(`${offset} is unknown`)
  const places = placesOf(log)
  for (const check of [counts, appends, order, streams, writers, exclusion]) faults.push(...check(epoch, places))
  for (const { what, check } of epoch.deferred) {
    const fault = check(log)
    if (fault !== null) faults.push(`${what}: ${fault}`)
  }
  return faults.map((fault) => `${epoch.label}: ${fault}`)
}

type Places = ReadonlyMap<string, number[]>
type Check = (epoch: EpochModel, places: Places) => string[]

function placesOf(log: EpochModel['log']): Map<string, number[]> {
  const places = new Map<string, number[]>()
  log.forEach((text, offset) => {
    if (text === undefined) return
    const known = places.get(text)
    if (known === undefined) places.set(text, [offset])
    else known.push(offset)
  })
  return places
}

/** No record is there more often than it was sent, nor less often than it was acknowledged; one with an id is there once. */
const counts: Check = ({ sent, trimAsked }, places) => {
  const faults: string[] = []
  for (const [text, records] of sent) {
    // A record with an id may be stored again once it has been trimmed.
    const kept = records[0]?.shared ? places.get(text)?.filter((offset) => offset >= trimAsked) : places.get(text)
    const found = kept?.length ?? 0
    const most = records[0]?.shared ? 1 : records.filter(({ state }) => state !== 'refused').length
    const acknowledged = records.filter(({ state }) => state === 'acknowledged').length
    const least = records[0]?.shared ? Math.min(acknowledged, 1) : acknowledged
    if (found > most) faults.push(`${text} is there ${found} times and was sent ${most} times`)
    // What was trimmed may never have been seen.
    if (found < least && trimAsked === 0) faults.push(`${text} was acknowledged and is lost`)
  }
  return faults
}

/** The records of one append lie side by side, or none is there. */
const appends: Check = ({ sent, trimAsked }, places) => {
  const faults: string[] = []
  const groups = new Map<number, Sent[]>()
  for (const records of sent.values()) {
    for (const record of records) groups.set(record.append, [...(groups.get(record.append) ?? []), record])
  }
  for (const group of groups.values()) {
    if (group.length < 2 || trimAsked > 0) continue
    group.sort((a, b) => a.serial - b.serial)
    const offsets = group.map(({ text }) => places.get(text)?.[0])
    const start = offsets[0]
    const isWhole = start !== undefined && offsets.every((offset, i) => offset === start + i)
    if (!isWhole && offsets.some((offset) => offset !== undefined)) {
      faults.push(`an append is there in part: ${group.map(({ text }) => text).join(', ')} at ${offsets}`)
    }
  }
  return faults
}

/**
 * What a session sent is there in its order. Tokens of parallel streams may get before each other, but not before or behind
 * what else it sent. Records with an id may have been stored by others.
 */
const order: Check = ({ log, sent }) => {
  const faults: string[] = []
  const newest = new Map<number, { other: number; any: number; streams: Map<string, number> }>()
  log.forEach((text, offset) => {
    const records = text === undefined ? undefined : sent.get(text)
    const [record] = records ?? []
    if (record === undefined || records?.length !== 1 || record.shared) return
    let last = newest.get(record.session)
    if (last === undefined) {
      last = { other: 0, any: 0, streams: new Map() }
      newest.set(record.session, last)
    }
    const { serial, stream } = record
    const before = stream === null ? last.any : Math.max(last.other, last.streams.get(stream) ?? 0)
    if (serial < before)
      faults.push(`${text} at ${offset} (${serial} of session ${record.session}) comes behind ${before}`)
    last.any = Math.max(last.any, serial)
    if (stream === null) last.other = serial
    else last.streams.set(stream, serial)
  })
  return faults
}

interface StreamSoFar {
  state: string
  fence: number
}

/** A stream is opened once, ends once, and only the writer with its fence writes into it. */
const streams: Check = ({ log, sent, fences }) => {
  const faults: string[] = []
  const known = new Map<string, StreamSoFar>()
  // Behind the last record that was trimmed before anybody saw it, streams may go on that were opened before.
  const begin = lastHole(log) + 1
  for (let offset = begin; offset < log.length; offset++) {
    const text = log[offset] as string
    const [kind, streamId = '', what = ''] = text.split(' ')
    if (kind !== 's' && kind !== 't') continue
    const stream = known.get(streamId)
    if (stream !== undefined || begin === 0) {
      const wrong = kind === 't' ? tokenFault(text, stream, sent) : stateFault(what, stream)
      if (wrong !== null) faults.push(`${text} at ${offset}: ${wrong}`)
    }
    if (kind === 't') continue
    // One that the broker writes because a lost writer is back grants nothing.
    const grants = what === 'open' || (what === 'resumed' && (stream?.state !== 'lost' || fences.has(offset)))
    const isPlain = stream !== undefined || begin === 0 || what === 'open' || isEnd(what) || fences.has(offset)
    if (isPlain) known.set(streamId, { state: what, fence: grants ? offset : (stream?.fence ?? -1) })
  }
  return faults
}

function lastHole(log: EpochModel['log']): number {
  let at = log.length - 1
  while (at >= 0 && log[at] !== undefined) at--
  return at
}

/** Streams that seem to be written still, long after all writers have gone. */
export function unsettledStreams({ label, log }: EpochModel): string[] {
  const states = new Map<string, string>()
  for (let offset = lastHole(log) + 1; offset < log.length; offset++) {
    const [kind, streamId = '', state = ''] = (log[offset] as string).split(' ')
    if (kind === 's') states.set(streamId, state)
  }
  const unsettled = [...states].filter(([, state]) => !isEnd(state) && state !== 'lost')
  return unsettled.map(([streamId, state]) => `${label}: stream ${streamId} is ${state} and has no writer`)
}

const isEnd = (state: string): boolean => state === 'done' || state === 'failed' || state === 'stopped'

function tokenFault(text: string, stream: StreamSoFar | undefined, sent: EpochModel['sent']): string | null {
  if (stream === undefined) return 'a token before its stream'
  if (isEnd(stream.state)) return `a token of a stream that is ${stream.state}`
  const fence = sent.get(text)?.[0]?.fence
  return fence === stream.fence ? null : `written with fence ${fence} where ${stream.fence} holds`
}

function stateFault(state: string, stream: StreamSoFar | undefined): string | null {
  if (stream === undefined) return state === 'open' || state === 'stopped' ? null : 'of a stream that is not open'
  if (isEnd(stream.state)) return `the stream is ${stream.state} already`
  if (state === 'open') return 'opened twice'
  return state === 'lost' && stream.state === 'lost' ? 'lost twice' : null
}

/** Of what one writer wrote a first part is there, in order and without a hole. */
const writers: Check = ({ log, sent, trimAsked }) => {
  if (trimAsked > 0) return []
  const written = new Map<string, Sent[]>()
  for (const [record] of sent.values()) {
    if (record === undefined || tokenOf(record.text) === null) continue
    const writer = `${record.stream} ${record.fence}`
    written.set(writer, [...(written.get(writer) ?? []), record])
  }
  const there = new Set(log)
  const faults: string[] = []
  for (const [writer, tokens] of written) {
    tokens.sort((a, b) => a.serial - b.serial)
    const missing = tokens.findIndex(({ text }) => !there.has(text))
    if (missing < 0) continue
    const later = tokens.slice(missing).find(({ text }) => there.has(text))
    if (later !== undefined)
      faults.push(`${later.text} is there and not ${tokens[missing]?.text}, which ${writer} wrote before`)
  }
  return faults
}

/** Once an exclusive session has written, no session that was open when it was asked for writes again. */
const exclusion: Check = ({ log, sent, sessions }) => {
  const faults: string[] = []
  /** The newest time at which an exclusive session was asked for that has written so far. */
  let shut = -1
  log.forEach((text, offset) => {
    const records = text === undefined ? undefined : sent.get(text)
    const session = records?.length === 1 ? sessions.get((records[0] as Sent).session) : undefined
    if (session === undefined || records?.[0]?.shared) return
    if (session.opened < shut) faults.push(`${text} at ${offset} is of a session that was shut out before`)
    if (session.exclusive) shut = Math.max(shut, session.asked)
  })
  return faults
}
