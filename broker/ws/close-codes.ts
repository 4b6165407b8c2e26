/** With which code a WebSocket is closed. */

import type { LitetopicError } from '../../protocol/index.ts'

/** WebSocket close codes, RFC 6455 section 7.4.1. */
export const CLOSE = {
  normal: 1000,
  goingAway: 1001,
  protocol: 1002,
  policy: 1008,
  tooLarge: 1009,
  internal: 1011,
} as const

/** The code that says roughly what the error says. */
export function closeCode(error: LitetopicError): number {
  if (error.code === 'FRAME_TOO_LARGE') return CLOSE.tooLarge
  if (error.code === 'INTERNAL') return CLOSE.internal
  return error.code === 'UNAUTHENTICATED' || error.code === 'RATE_LIMITED' ? CLOSE.policy : CLOSE.protocol
}
