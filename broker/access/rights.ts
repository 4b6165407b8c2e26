/** What may be granted, and to which topics: rights by prefix of whole segments, of which the longest that covers a name counts. */

import { checkPrefix, LIMITS, LitetopicError, longestPrefix, prefixCovers } from '../../protocol/index.ts'

/** `read`: see and hear it. `write`: create it and append. `stop`: stop its streams. `manage`: trim, delete, its policy. */
export const RIGHT = { read: 1, write: 2, stop: 4, manage: 8 } as const

export type Right = keyof typeof RIGHT

export const ALL_RIGHTS: number = RIGHT.read | RIGHT.write | RIGHT.stop | RIGHT.manage

/** Rights as people write them, by prefix. */
export type GrantTable = Readonly<Record<string, readonly Right[]>>

/** Behind every name below `prefix/`, and before any other: names have no character beyond `~`. */
const BEHIND = '\x7f'

export class Grants {
  private readonly table: ReadonlyMap<string, number>

  constructor(table: ReadonlyMap<string, number>) {
    this.table = table
  }

  /** The rights on a topic of that name, as a sum of RIGHT. */
  rightsOn(name: string): number {
    return longestPrefix(this.table, name) ?? 0
  }

  /** Are these rights granted on all names that the prefix covers? */
  coversAll(prefix: string, rights: number): boolean {
    if ((this.rightsOn(prefix) & rights) !== rights) return false
    return [...this.table].every(([below, some]) => !prefixCovers(prefix, below) || (some & rights) === rights)
  }

  equals(other: Grants): boolean {
    return (
      this.table.size === other.table.size &&
      [...this.table].every(([prefix, rights]) => other.table.get(prefix) === rights)
    )
  }

  /** Is this right granted anywhere? */
  has(right: Right): boolean {
    return [...this.table.values()].some((rights) => (rights & RIGHT[right]) !== 0)
  }

  /** Prefixes that have between them all names that are covered by this one and may be read, and perhaps some that may not. */
  readable(prefix: string): string[] {
    const below = [...this.table.keys()].filter(
      (key) => key !== prefix && prefixCovers(prefix, key) && (this.rightsOn(key) & RIGHT.read) !== 0,
    )
    if ((this.rightsOn(prefix) & RIGHT.read) !== 0) below.push(prefix)
    return below
  }

  /** Of a name that may not be read: behind which text the names go on that its grant does not cover. */
  behindUnreadable(name: string): string {
    for (let end = name.lastIndexOf('/'); end > 0; end = name.lastIndexOf('/', end - 1)) {
      if (this.table.has(name.slice(0, end))) return `${name.slice(0, end)}/${BEHIND}`
    }
    // Names such as `a-x` are behind `a`, and before `a/`.
    return name
  }
}

/** Everything on every topic. */
export const EVERYTHING = new Grants(new Map([['', ALL_RIGHTS]]))

/** Nothing on any. */
export const NOTHING = new Grants(new Map())

/** The sum of the rights in a list; `what` is where it stands, for people. Throws BAD_REQUEST. */
export function rightsOf(list: unknown, what: string): number {
  if (!Array.isArray(list)) throw wrong(what, list)
  return list.reduce((sum: number, right: unknown) => {
    if (typeof right !== 'string' || !Object.hasOwn(RIGHT, right)) throw wrong(what, right)
    return sum | RIGHT[right as Right]
  }, 0)
}

/** `read,write`, `all` or `none`. Throws BAD_REQUEST. */
export function parseRights(text: string, what: string): Right[] {
  if (text === 'none') return []
  const names = text === 'all' ? Object.keys(RIGHT) : text.split(',')
  return rightNames(rightsOf(names, what))
}

/** In the order of RIGHT. */
export function rightNames(rights: number): Right[] {
  return (Object.keys(RIGHT) as Right[]).filter((right) => (rights & RIGHT[right]) !== 0)
}

/** Checks a table that was configured or signed. Throws BAD_REQUEST or BAD_NAME. */
export function grantsOf(table: unknown, what: string): Grants {
  if (typeof table !== 'object' || table === null || Array.isArray(table)) {
    throw new LitetopicError('BAD_REQUEST', `${what} must be an object of rights by prefix`)
  }
  const entries = Object.entries(table)
  const bound = LIMITS.grantsPerPrincipal
  if (entries.length > bound) {
    throw new LitetopicError('BAD_REQUEST', `${what} has ${entries.length} prefixes, at most ${bound}`)
  }
  return new Grants(
    new Map(
      entries.map(([prefix, list]) => [checkPrefix(prefix), rightsOf(list, `${what}[${JSON.stringify(prefix)}]`)]),
    ),
  )
}

function wrong(what: string, found: unknown): LitetopicError {
  const shown = JSON.stringify(found)?.slice(0, 60) ?? String(found)
  return new LitetopicError('BAD_REQUEST', `${what} must be rights of ${Object.keys(RIGHT).join(', ')}, not ${shown}`)
}
