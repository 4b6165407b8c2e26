/** Who a client is and what it may do, for as long as what it has shown is valid. */

import { LitetopicError } from '../../protocol/index.ts'
import type { Clock } from '../clock.ts'
import { EVERYTHING, type Grants, NOTHING } from './rights.ts'

/** Timers of the platform take no longer ones. */
const LONGEST_TIMER_MS = 0x7fff_ffff

export interface IdentityFacts {
  /** Written into what it appends; undefined where access is not configured. */
  readonly principal: string | undefined
  readonly grants: Grants
  /** Of the API key that it has shown, or that has issued its token; null for none. */
  readonly keyId: string | null
  /** May it issue tokens? */
  readonly issues: boolean
  /** Wall time, milliseconds since 1970; Infinity for no end. */
  readonly expiresMs: number
}

/** What an identity that ends by itself depends on. */
interface Ends {
  readonly clock: Clock
  /** Whose key has issued its token: revoked, it takes the token with it. */
  readonly issuer: Identity | null
}

export class Identity implements IdentityFacts {
  readonly principal: string | undefined
  readonly grants: Grants
  readonly keyId: string | null
  readonly issues: boolean
  readonly expiresMs: number
  /** Why it is not valid any more, or null. */
  over: LitetopicError | null = null
  private readonly ends: Ends | null
  private readonly watchers = new Set<(error: LitetopicError) => void>()
  private cancelTimer: (() => void) | null = null
  private leaveIssuer: (() => void) | null = null

  /** `ends`: null for one that only ends when it is told to. */
  constructor(facts: IdentityFacts, ends: Ends | null = null) {
    this.principal = facts.principal
    this.grants = facts.grants
    this.keyId = facts.keyId
    this.issues = facts.issues
    this.expiresMs = facts.expiresMs
    this.ends = ends
  }

  rightsOn(name: string): number {
    return this.grants.rightsOn(name)
  }

  /** It was revoked, or has expired: whoever has it is told. */
  end(error: LitetopicError): void {
    if (this.over !== null) return
    this.over = error
    this.stopWatching()
    const watchers = [...this.watchers]
    this.watchers.clear()
    for (const tell of watchers) tell(error)
  }

  /** Calls `tell` once when it is not valid any more. Returns what ends that. */
  whenOver(tell: (error: LitetopicError) => void): () => void {
    if (this.over !== null) {
      tell(this.over)
      return () => undefined
    }
    this.watchers.add(tell)
    if (this.ends !== null && this.watchers.size === 1) this.startWatching(this.ends)
    return () => {
      if (this.watchers.delete(tell) && this.watchers.size === 0) this.stopWatching()
    }
  }

  private startWatching({ clock, issuer }: Ends): void {
    if (issuer !== null) this.leaveIssuer = issuer.whenOver((error) => this.end(error))
    if (this.over !== null || this.expiresMs === Number.POSITIVE_INFINITY) return
    // Nobody has watched it for a while.
    if (clock.wallMs() >= this.expiresMs) this.end(expired())
    else this.startTimer(clock)
  }

  private startTimer(clock: Clock): void {
    const leftMs = Math.max(this.expiresMs - clock.wallMs(), 0)
    this.cancelTimer = clock.after(Math.min(leftMs, LONGEST_TIMER_MS), () => {
      if (clock.wallMs() >= this.expiresMs) this.end(expired())
      else this.startTimer(clock)
    })
  }

  private stopWatching(): void {
    this.cancelTimer?.()
    this.leaveIssuer?.()
    this.cancelTimer = this.leaveIssuer = null
  }
}

/** Who has not said who it is: may do nothing. */
export const NOBODY = new Identity({
  principal: undefined,
  grants: NOTHING,
  keyId: null,
  issues: false,
  expiresMs: Number.POSITIVE_INFINITY,
})

/** Whoever comes while access is not configured: may do everything. */
export function everybody(): Identity {
  const facts = { principal: undefined, grants: EVERYTHING, keyId: null, issues: false }
  return new Identity({ ...facts, expiresMs: Number.POSITIVE_INFINITY })
}

/** Why a token is not taken; `reason` is for programs. */
export function unauthenticated(reason: 'missing' | 'wrong' | 'expired' | 'revoked', message: string): LitetopicError {
  return new LitetopicError('UNAUTHENTICATED', message, { reason })
}

export function expired(): LitetopicError {
  return unauthenticated('expired', 'the token has expired: come back with a new one')
}
