/**
 * Lists of which a million topics have one each, mostly of one item or none. Growing by `push`, V8 makes room for 17 items at
 * once, 152 bytes; these have room for what is in them while they are short.
 */

/** Up to so many items are copied when one comes or goes; longer lists change in place. */
const SHORT = 8

/** Shared by all that have nothing, and never changed. */
export const EMPTY: readonly never[] = Object.freeze([])

/** The list with one more item; the one given must not be used any more. */
export function extended<T>(list: readonly T[], item: T): T[] {
  if (list.length === 0) return [item]
  if (list.length < SHORT) return list.concat([item])
  const long = list as T[]
  long.push(item)
  return long
}

/** The list without an item, if it is there; the one given must not be used any more. */
export function without<T>(list: readonly T[], item: T): readonly T[] {
  const at = list.indexOf(item)
  if (at < 0) return list
  if (list.length === 1) return EMPTY
  if (list.length <= SHORT) return list.toSpliced(at, 1)
  const long = list as T[]
  long.splice(at, 1)
  return long
}
