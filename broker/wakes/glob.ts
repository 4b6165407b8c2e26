/** Patterns of topic names, as Durable Streams subscriptions have them: `*` is one segment, `**` any number of them, also none. */

import { isTopicName, LitetopicError } from '../../protocol/index.ts'

export type Pattern = readonly string[]

/** The segments of a pattern, with or without slashes around it. Throws BAD_REQUEST. */
export function parsePattern(text: string): Pattern {
  const bare = text.replace(/^\/+|\/+$/g, '')
  const segments = bare.split('/')
  const isPattern = isTopicName(segments.map((segment) => (isWild(segment) ? 'x' : segment)).join('/'))
  if (isPattern && isTopicName(bare.replaceAll('*', 'x'))) return segments
  const shown = JSON.stringify(text.slice(0, 80))
  throw new LitetopicError('BAD_REQUEST', `${shown} is not a pattern: it is a topic name in which segments are * or **`)
}

/** Does the pattern match all of the name? In time of the product of their lengths, whatever the pattern. */
export function matches(pattern: Pattern, name: string): boolean {
  const path = name.split('/')
  let at = 0
  let here = 0
  /** The last `**`, and where what comes behind it was tried. */
  let deep = -1
  let tried = 0
  while (here < path.length) {
    const segment = pattern[at]
    if (segment === '**') {
      deep = at++
      tried = here
    } else if (segment === '*' || segment === path[here]) {
      at++
      here++
    } else if (deep >= 0) {
      at = deep + 1
      here = ++tried
    } else return false
  }
  while (pattern[at] === '**') at++
  return at === pattern.length
}

/** The text with which all names begin that the pattern matches. */
export function literalStart(pattern: Pattern): string {
  const wild = pattern.findIndex(isWild)
  if (wild < 0) return pattern.join('/')
  const start = pattern.slice(0, wild).join('/')
  return wild > 0 && pattern[wild] === '*' ? `${start}/` : start
}

/** The first segment of all names that the pattern matches; null where there are several. */
export function firstSegment(pattern: Pattern): string | null {
  const [first = ''] = pattern
  return isWild(first) ? null : first
}

function isWild(segment: string): boolean {
  return segment === '*' || segment === '**'
}
