/** What `litetopic top` shows, taken at one moment, and what two of them say of the time between. */

import type { Broker, TopicInfo } from '../../client/index.ts'
import { LIMITS } from '../../protocol/index.ts'

/** Counters by name, summed over their labels, and levels by name. */
export type Series = ReadonlyMap<string, number>

export interface Sample {
  readonly atMs: number
  readonly series: Series
  readonly topics: readonly TopicInfo[]
  /** Are there more topics than these? */
  readonly more: boolean
}

export interface SessionRow {
  readonly name: string
  readonly recordsPerSecond: number
  readonly records: number
  readonly bytes: number
  readonly hold: string
  readonly lastAppendMs: number
}

export interface Top {
  readonly atMs: number
  readonly connections: number
  readonly attachments: number
  readonly resident: number
  readonly receivedPerSecond: number
  readonly deliveredPerSecond: number
  readonly commitsPerSecond: number
  /** 1 is full. */
  readonly journalFullness: number
  readonly memoryBytes: number
  readonly diskBytes: number
  readonly rejectedPerSecond: number
  /** The busiest first, then those appended to last. */
  readonly sessions: readonly SessionRow[]
  readonly more: boolean
}

export async function takeSample(
  broker: Broker,
  metrics: () => Promise<string>,
  prefix: string,
  nowMs: number,
): Promise<Sample> {
  const [text, { topics, more }] = await Promise.all([metrics(), broker.list({ prefix, limit: LIMITS.pageItems })])
  return { atMs: nowMs, series: parseSeries(text), topics, more }
}

/** The text format of Prometheus: of `name{labels} value`, all values of a name together. */
export function parseSeries(text: string): Series {
  const series = new Map<string, number>()
  for (const line of text.split('\n')) {
    const match = /^([a-z_]+)(?:\{[^}]*\})? (\S+)/.exec(line)
    if (match === null) continue
    const [, name = '', value] = match
    series.set(name, (series.get(name) ?? 0) + Number(value))
  }
  return series
}

export function topOf(before: Sample, now: Sample): Top {
  const seconds = Math.max((now.atMs - before.atMs) / 1000, 0.001)
  const level = (name: string): number => now.series.get(name) ?? 0
  // A broker that was started anew counts from zero.
  const rate = (name: string): number => Math.max(0, (level(name) - (before.series.get(name) ?? 0)) / seconds)
  return {
    atMs: now.atMs,
    connections: level('litetopic_connections'),
    attachments: level('litetopic_attachments'),
    resident: level('litetopic_topics'),
    receivedPerSecond: rate('litetopic_received_records_total'),
    deliveredPerSecond: rate('litetopic_delivered_records_total'),
    commitsPerSecond: rate('litetopic_commit_seconds_count'),
    journalFullness: level('litetopic_journal_fullness_ratio'),
    memoryBytes: level('process_resident_memory_bytes'),
    diskBytes: level('litetopic_disk_bytes'),
    rejectedPerSecond: rate('litetopic_rejected_total'),
    sessions: rowsOf(before, now, seconds),
    more: now.more,
  }
}

function rowsOf(before: Sample, now: Sample, seconds: number): SessionRow[] {
  const known = new Map(before.topics.map((topic) => [topic.epoch, topic.nextOffset]))
  const rows = now.topics.map(({ name, epoch, firstOffset, nextOffset, bytes, hold, lastAppendMs }) => ({
    name,
    recordsPerSecond: (nextOffset - (known.get(epoch) ?? (before.atMs === now.atMs ? nextOffset : 0))) / seconds,
    records: nextOffset - firstOffset,
    bytes,
    hold,
    lastAppendMs,
  }))
  return rows.sort((a, b) => b.recordsPerSecond - a.recordsPerSecond || b.lastAppendMs - a.lastAppendMs)
}
