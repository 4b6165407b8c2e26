/** The ids of events: where an event lies in the log of its session, as text that a client gives back in Last-Event-ID. */

import { LitetopicError, type Stored } from '../index.ts'

/** A cursor, and the offset of the event itself: which stream it is of is read there, not believed. */
const EVENT_ID = /^([0-9a-f]{40})-([0-9a-z]{1,11})$/

/** Opaque to clients, at most 52 characters. */
export function eventId({ cursor, offset }: Stored): string {
  return `${cursor}-${offset.toString(36)}`
}

/** Throws BAD_CURSOR for what `eventId` did not write. */
export function parseEventId(text: string): Stored {
  const [, cursor, digits] = EVENT_ID.exec(text) ?? []
  const offset = Number.parseInt(digits ?? '', 36)
  if (cursor === undefined || !Number.isSafeInteger(offset)) {
    throw new LitetopicError('BAD_CURSOR', 'the text given is not the id of an event')
  }
  return { cursor, offset }
}
