/** Durations as people write them in options and configuration files. */

import { LitetopicError } from '../../protocol/index.ts'

const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
}
const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/

/** `500ms`, `2s`, `10m`, `1.5h`, `7d` or `0` in milliseconds. Throws BAD_REQUEST for anything else. */
export function parseDuration(text: string): number {
  if (text === '0') return 0
  const match = DURATION.exec(text)
  const ms = match === null ? Number.NaN : Math.round(Number(match[1]) * (UNIT_MS[match[2] as string] as number))
  if (Number.isSafeInteger(ms)) return ms
  throw new LitetopicError(
    'BAD_REQUEST',
    `${JSON.stringify(text)} is no duration: write a number and a unit (ms, s, m, h, d), such as "10m"`,
  )
}

/** As parseDuration, or `forever`. */
export function parseLinger(text: string): number | 'forever' {
  return text === 'forever' ? 'forever' : parseDuration(text)
}

/** For people: the largest unit that gives a whole number, such as `90m`, else one decimal; `forever` as it is. */
export function formatDuration(ms: number | 'forever'): string {
  if (ms === 'forever') return ms
  if (ms === 0) return '0'
  const units = Object.entries(UNIT_MS).reverse()
  const [unit, size] = units.find(([, size]) => ms % size === 0 && ms >= size) ?? ['ms', 1]
  if (unit !== 'ms' || ms < 1000) return `${ms / size}${unit}`
  const [large, largeSize] = units.find(([, size]) => ms >= size) ?? ['ms', 1]
  return `${(ms / largeSize).toFixed(1)}${large}`
}
