/**
 * The gate: what a client may do to a topic, asked by operations.ts at the beginning of every verb, whatever transport it came by.
 * An attachment keeps the rights that its client had when it was made, or has shown since.
 */

import { LitetopicError } from '../../protocol/index.ts'
import type { Client } from '../client.ts'
import type { Attachment } from '../topic.ts'
import { RIGHT, type Right } from './rights.ts'

/** Throws ACCESS_DENIED unless the client has the right on topics of that name. */
export function allow(client: Client, name: string, right: Right): void {
  const refusal = refusalOf(client, name, right)
  if (refusal !== null) throw refusal
}

/** Throws ACCESS_DENIED unless the client has some right on topics of that name. */
export function allowAny(client: Client, name: string): void {
  if (client.identity.rightsOn(name) === 0) throw denied(name, null)
}

/** ACCESS_DENIED, or null if the client has the right. Without a right, it is asked for any. */
export function refusalOf(client: Client, name: string, right: Right | null): LitetopicError | null {
  const rights = client.identity.rightsOn(name)
  const has = right === null ? rights !== 0 : (rights & RIGHT[right]) !== 0
  return has ? null : denied(name, right)
}

/** Throws ACCESS_DENIED unless the attachment has the right. */
export function allowOn(attachment: Attachment, right: Right): void {
  if ((attachment.rights & RIGHT[right]) === 0) throw denied(attachment.topic.name, right)
}

/** Throws ACCESS_DENIED unless the client has the right on all names that the prefix covers. */
export function allowBelow(client: Client, prefix: string, right: Right): void {
  if (!client.identity.grants.coversAll(prefix, RIGHT[right])) throw denied(prefix, right)
}

/** `right`: null where any would do. */
export function denied(name: string, right: Right | null): LitetopicError {
  const shown = JSON.stringify(name.slice(0, 255))
  const what = right === null ? 'nothing' : `no ${right}`
  const advice = 'use a token that does, or have it granted'
  const details = { topic: name, right }
  return new LitetopicError('ACCESS_DENIED', `the token grants ${what} on ${shown}: ${advice}`, details)
}
