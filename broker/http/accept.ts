/** Content negotiation, as far as it is needed: which of the types that a route offers a request takes. RFC 9110, 12.5.1. */

interface Range {
  readonly type: string
  readonly quality: number
}

/**
 * The offered type that the header likes best, of equals the first; null if it takes none. No header takes anything. Parameters
 * of types, but for `q`, are passed over.
 */
export function negotiate<T extends string>(accept: string | undefined, offered: readonly T[]): T | null {
  if (accept === undefined || accept.trim() === '') return offered[0] ?? null
  const ranges = accept.split(',').map(rangeOf)
  let best: T | null = null
  let bestQuality = 0
  for (const type of offered) {
    const quality = qualityOf(type, ranges)
    if (quality <= bestQuality) continue
    best = type
    bestQuality = quality
  }
  return best
}

/** The most specific range that covers the type decides. */
function qualityOf(type: string, ranges: readonly Range[]): number {
  const [main] = type.split('/')
  for (const pattern of [type, `${main}/*`, '*/*']) {
    const range = ranges.find((found) => found.type === pattern)
    if (range !== undefined) return range.quality
  }
  return 0
}

function rangeOf(text: string): Range {
  const [type = '', ...parameters] = text.split(';').map((piece) => piece.trim().toLowerCase())
  const q = parameters.find((parameter) => parameter.startsWith('q='))
  const quality = q === undefined ? 1 : Number(q.slice(2))
  return { type, quality: Number.isFinite(quality) ? Math.min(Math.max(quality, 0), 1) : 0 }
}
