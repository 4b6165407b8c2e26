/** When clients come back that a broker sends away: spread out more the more they are, so that one just started is not stormed. */

import { LIMITS } from '../protocol/index.ts'

/** After a random time between the two. */
export type ComeBack = { readonly minDelayMs: number; readonly maxDelayMs: number }

export function comeBack(connections: number): ComeBack {
  const { goawayMinMs, goawayMsPerConnection, goawayMaxMs } = LIMITS
  const maxDelayMs = Math.min(goawayMinMs + connections * goawayMsPerConnection, goawayMaxMs)
  return { minDelayMs: goawayMinMs, maxDelayMs }
}

/** For those who are told one delay and choose none. */
export function randomDelayMs({ minDelayMs, maxDelayMs }: ComeBack): number {
  return minDelayMs + Math.random() * (maxDelayMs - minDelayMs)
}
