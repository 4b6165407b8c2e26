/** Writing to standard output at the pace of whoever reads it, and numbers for people. */

import { once } from 'node:events'

/** Writes, and waits while the other end is slow. */
export async function write(text: string): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, 'drain')
}

/** One JSON value on a line of its own. Bytes become base64, as `{"base64": ...}`. */
export function jsonLine(value: unknown): string {
  const replace = (_key: string, inner: unknown): unknown =>
    inner instanceof Uint8Array ? { base64: Buffer.from(inner).toString('base64') } : inner
  return `${JSON.stringify(value, replace)}\n`
}

/** Columns as wide as their widest cell, two spaces apart; the columns named in `right` are numbers. */
export function table(rows: readonly (readonly string[])[], right: ReadonlySet<number>): string {
  const widths: number[] = []
  for (const row of rows) for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length)
  const pad = (cell: string, i: number): string =>
    right.has(i) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)
  return rows.map((row) => `${row.map(pad).join('  ').trimEnd()}\n`).join('')
}

/** `812 B`, `14.2 KB`, `3.1 MB`, `1.2 GB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB']
  let unit = 0
  let value = bytes
  for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`
}

/** Date and time in UTC, to the second. */
export function formatTime(ms: number): string {
  return new Date(ms)
    .toISOString()
    .replace('T', ' ')
    .replace(/\.\d+Z$/, 'Z')
}
