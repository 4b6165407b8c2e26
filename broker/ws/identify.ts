/** Who a connection is: found at once, or while its frames wait. */

import { asLitetopicError } from '../../protocol/index.ts'
import type { Authority } from '../access/authority.ts'
import { type Identity, NOBODY } from '../access/identity.ts'
import type { Connection } from './connection.ts'

/**
 * Calls `admit` with the connection being who shows this token, or, without one, who it is known to be; or turns it away. What comes
 * meanwhile waits.
 */
export function identify(
  authority: Authority,
  connection: Connection,
  token: string | undefined,
  admit: () => void,
): void {
  const become = (identity: Identity): void => {
    connection.become(identity)
    admit()
  }
  const refuse = (error: unknown): void => connection.turnAway(asLitetopicError(error))
  if (token === undefined && connection.identity !== NOBODY) {
    become(connection.identity)
    return
  }
  try {
    const found: Identity | Promise<Identity> = authority.identify(token, connection.address)
    if (!(found instanceof Promise)) {
      become(found)
      return
    }
    connection.hold()
    found.then((identity) => {
      become(identity)
      connection.letGo()
    }, refuse)
  } catch (error) {
    refuse(error)
  }
}
