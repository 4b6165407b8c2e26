/** How a session attaches: as its user says, and again after a lost connection as what it was then. */

import { type AttachOptions, formatCursor } from '../protocol/index.ts'

/** What an attachment was when it was attached last. */
interface Before {
  /** -1 before the first time. */
  readonly epoch: number
  /** Of the store. */
  readonly incarnation: string
  /** The topic's fence that it writes under. */
  readonly fence: number
  /** Of its stream writers: each is the offset of a record too. */
  readonly fences: Iterable<{ readonly fence: number }>
}

interface Acknowledged {
  /** The offset after the last record that was acknowledged. */
  readonly acknowledgedTo: number
}

export function attachOptions(
  given: AttachOptions,
  before: Before,
  { acknowledgedTo }: Acknowledged,
  incarnation: string,
): AttachOptions {
  const { epoch, fence } = before
  if (epoch < 0) return given
  // What is said of a topic that is created, or is to be taken, is not said again.
  const { observe, producer } = given
  const cursor = before.incarnation === incarnation ? undefined : knownCursor(before, acknowledgedTo)
  return { producer, epoch, fence, ...(observe !== undefined && { observe }), ...(cursor !== undefined && { cursor }) }
}

/**
 * Behind all that the session was told is stored; undefined if that is nothing. A broker that came back on a copy of its data
 * may have less, and then it must not go on as if nothing had happened.
 */
function knownCursor({ incarnation, epoch, fences }: Before, acknowledgedTo: number): string | undefined {
  let next = acknowledgedTo
  for (const { fence } of fences) next = Math.max(next, fence + 1)
  return next === 0 ? undefined : formatCursor({ incarnation, epoch, next })
}
