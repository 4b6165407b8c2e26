/**
 * The gate: what a client may do to a topic, asked by operations.ts at the beginning of every verb, whatever transport it came by.
 * An attachment keeps the rights that its client had when it was made, or has shown since. What is refused is audited here.
 */

import { LIMITS, LitetopicError } from '../../protocol/index.ts'
import type { Client } from '../client.ts'
import type { Attachment } from '../topic.ts'
import type { Audit, AuditEvent } from './audit.ts'
import { RIGHT, type Right } from './rights.ts'

/** Who asks. */
export type Visitor = Pick<Client, 'identity' | 'address'>

export class Gate {
  private readonly audit: Audit | null

  constructor(audit: Audit | null) {
    this.audit = audit
  }

  /** Throws ACCESS_DENIED unless the client has the right on topics of that name. */
  allow(client: Client, name: string, right: Right): void {
    const refusal = this.refusalOf(client, name, right)
    if (refusal !== null) throw refusal
  }

  /** Throws ACCESS_DENIED unless the client has some right on topics of that name. */
  allowAny(client: Client, name: string): void {
    const refusal = this.refusalOf(client, name, null)
    if (refusal !== null) throw refusal
  }

  /**
   * ACCESS_DENIED, or null if the client has the right; UNAUTHENTICATED for one whose token is over meanwhile. Without a right, it is
   * asked for any.
   */
  refusalOf(client: Client, name: string, right: Right | null): LitetopicError | null {
    const { over } = client.identity
    if (over !== null) return over
    const rights = client.identity.rightsOn(name)
    const has = right === null ? rights !== 0 : (rights & RIGHT[right]) !== 0
    return has ? null : this.refuse(client, name, right)
  }

  /** Throws ACCESS_DENIED unless the attachment has the right. */
  allowOn(attachment: Attachment, right: Right): void {
    if ((attachment.rights & RIGHT[right]) === 0) throw this.refuse(attachment.client, attachment.topic.name, right)
  }

  /** Throws ACCESS_DENIED unless the client has the right on all names that the prefix covers. */
  allowBelow(client: Client, prefix: string, right: Right): void {
    const { grants, over } = client.identity
    if (over !== null) throw over
    if (!grants.coversAll(prefix, RIGHT[right])) throw this.refuse(client, prefix, right)
  }

  /** Notes what a client refused may be asked about, or one that was let in has done. Without access nobody is noted. */
  note(event: AuditEvent, { identity, address }: Visitor, facts: object): void {
    if (this.audit === null || identity.principal === undefined) return
    const { principal, keyId } = identity
    this.audit.note(event, { principal, keyId, address, ...facts })
  }

  /** ACCESS_DENIED, which is noted. `right`: null where any would do. */
  refuse(client: Client, name: string, right: Right | null): LitetopicError {
    this.note('refuse', client, { topic: name.slice(0, LIMITS.nameBytes), right })
    return denied(name, right)
  }
}

/** `right`: null where any would do. */
export function denied(name: string, right: Right | null): LitetopicError {
  const topic = name.slice(0, LIMITS.nameBytes)
  const what = right === null ? 'nothing' : `no ${right}`
  const advice = 'use a token that does, or have it granted'
  const message = `the token grants ${what} on ${JSON.stringify(topic)}: ${advice}`
  return new LitetopicError('ACCESS_DENIED', message, { topic, right })
}
