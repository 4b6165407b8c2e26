/** `litetopic top` as lines of text, as many and as long as the terminal takes. */

import { formatBytes, table } from './output.ts'
import type { SessionRow, Top } from './top-sample.ts'

const HEADER = ['SESSION', 'RECORDS/S', 'RECORDS', 'BYTES', 'HOLD', 'LAST APPEND']
const NUMBERS = new Set([1, 2, 3])
/** Longer names are cut in the middle, as their ends tell them apart. */
const NAME_LENGTH = 48

export function screen(top: Top, url: string, size: { readonly columns: number; readonly rows: number }): string[] {
  const head = [
    `litetopic ${url}   ${new Date(top.atMs).toISOString().slice(11, 19)}Z   q to leave`,
    `connections ${top.connections}   sessions attached ${top.attachments}   topics in memory ${top.resident}`,
    `records in ${perSecond(top.receivedPerSecond)}   out ${perSecond(top.deliveredPerSecond)}   commits ${perSecond(top.commitsPerSecond)}   refused ${perSecond(top.rejectedPerSecond)}`,
    `journal ${Math.round(top.journalFullness * 100)} %   disk ${formatBytes(top.diskBytes)}   memory ${formatBytes(top.memoryBytes)}`,
    '',
  ]
  const shown = top.sessions.slice(0, Math.max(0, size.rows - head.length - 2))
  const rows = table([HEADER, ...shown.map((row) => cells(row, top.atMs))], NUMBERS)
    .trimEnd()
    .split('\n')
  const hidden = top.sessions.length - shown.length
  const rest = top.more
    ? 'of the first 1,000 by name; name a prefix for others'
    : hidden > 0
      ? `and ${hidden} more`
      : ''
  return [...head, ...rows, rest].slice(0, size.rows).map((line) => line.slice(0, size.columns))
}

function cells(row: SessionRow, nowMs: number): string[] {
  const agoSeconds = Math.max(0, Math.round((nowMs - row.lastAppendMs) / 1000))
  return [
    shortened(row.name),
    row.recordsPerSecond.toFixed(row.recordsPerSecond < 10 ? 1 : 0),
    String(row.records),
    formatBytes(row.bytes),
    row.hold,
    ago(agoSeconds),
  ]
}

function ago(seconds: number): string {
  if (seconds < 120) return `${seconds}s ago`
  if (seconds < 7200) return `${Math.round(seconds / 60)}m ago`
  return `${Math.round(seconds / 3600)}h ago`
}

function shortened(name: string): string {
  if (name.length <= NAME_LENGTH) return name
  const half = (NAME_LENGTH - 1) / 2
  return `${name.slice(0, Math.ceil(half))}…${name.slice(-Math.floor(half))}`
}

function perSecond(value: number): string {
  return `${value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString('en-US')}/s`
}
