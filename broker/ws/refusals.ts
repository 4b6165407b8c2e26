/** What a connection is refused that breaks the rules of frames, handles and hellos. */

import { LitetopicError, PROTOCOL_VERSION } from '../../protocol/index.ts'

export function wrongVersion(version: number): LitetopicError {
  return new LitetopicError(
    'VERSION_MISMATCH',
    `this broker speaks protocol version ${PROTOCOL_VERSION}, the client ${version}: upgrade the older one`,
    { version: PROTOCOL_VERSION },
  )
}

export function helloMisplaced(isHello: boolean): LitetopicError {
  if (isHello) return new LitetopicError('BAD_FRAME', 'hello comes once')
  return new LitetopicError('HELLO_EXPECTED', 'the first frame of a connection is hello')
}

export function inUse(what: 'handle' | 'subscription', number: number): LitetopicError {
  return new LitetopicError('HANDLE_IN_USE', `${what} ${number} is taken`, { [what]: number })
}

export function unknownHandle(handle: number): LitetopicError {
  return new LitetopicError('UNKNOWN_HANDLE', `handle ${handle} is not attached on this connection`, { handle })
}

/** What is attached writes under the principal that it was attached by. */
export function otherPrincipal(): LitetopicError {
  return new LitetopicError('ACCESS_DENIED', 'the token is of another principal than the connection: connect anew')
}
