/**
 * When to connect, and how long to wait before trying again, as a pure function of what has happened: no sockets, no time,
 * no chance in here. The caller feeds events in and carries the actions out.
 *
 *     idle → connecting → open → waiting → connecting …        any → closed
 */

import { LIMITS } from '../protocol/index.ts'

/** `idle`: nothing has been asked for yet. `waiting`: between two attempts. `closed`: for good. */
export type ConnectionState = 'idle' | 'connecting' | 'open' | 'waiting' | 'closed'

export interface ReconnectState {
  readonly phase: ConnectionState
  /** Attempts since a connection last held. */
  readonly attempt: number
  /** When the broker welcomed this connection. */
  readonly openedMs: number
  /** The delay that the broker asked for when it said that it goes away. */
  readonly away: { readonly minMs: number; readonly maxMs: number } | null
}

export type ReconnectEvent =
  /** Something is to be sent. */
  | { readonly type: 'wanted' }
  /** The broker has welcomed the connection. */
  | { readonly type: 'welcomed'; readonly nowMs: number }
  /** The connection, or the attempt, is over; `random` is 0 up to 1. It is not tried again before `leastMs`, default 0. */
  | { readonly type: 'dropped'; readonly nowMs: number; readonly random: number; readonly leastMs?: number }
  | { readonly type: 'goaway'; readonly minMs: number; readonly maxMs: number }
  /** The wait is over. */
  | { readonly type: 'timer' }
  /** The user closes, or the broker refuses for good. */
  | { readonly type: 'close' }

export type ReconnectAction =
  | { readonly type: 'open' }
  | { readonly type: 'wait'; readonly ms: number }
  | { readonly type: 'cancelWait' }
  | { readonly type: 'drop' }

/** Between two attempts. Defaults: 100 ms and 10 s. */
export interface ReconnectOptions {
  readonly minMs: number
  readonly maxMs: number
}

export const RECONNECT_DEFAULTS: ReconnectOptions = { minMs: LIMITS.reconnectMinMs, maxMs: LIMITS.reconnectMaxMs }

export const NOT_CONNECTED: ReconnectState = { phase: 'idle', attempt: 0, openedMs: 0, away: null }

const NOTHING: readonly ReconnectAction[] = []
const OPEN: readonly ReconnectAction[] = [{ type: 'open' }]

export interface Step {
  readonly state: ReconnectState
  readonly actions: readonly ReconnectAction[]
}

export function step(state: ReconnectState, event: ReconnectEvent, options: ReconnectOptions): Step {
  const { phase } = state
  const same: Step = { state, actions: NOTHING }
  if (phase === 'closed') return same
  switch (event.type) {
    case 'wanted':
      return phase === 'idle' ? { state: { ...state, phase: 'connecting' }, actions: OPEN } : same
    case 'timer':
      return phase === 'waiting' ? { state: { ...state, phase: 'connecting' }, actions: OPEN } : same
    case 'welcomed':
      if (phase !== 'connecting') return same
      return { state: { ...state, phase: 'open', openedMs: event.nowMs }, actions: NOTHING }
    case 'goaway':
      if (phase !== 'open') return same
      return { state: { ...state, away: { minMs: event.minMs, maxMs: event.maxMs } }, actions: NOTHING }
    case 'dropped':
      return phase === 'open' || phase === 'connecting' ? dropped(state, event, options) : same
    case 'close': {
      const actions: readonly ReconnectAction[] =
        phase === 'waiting' ? [{ type: 'cancelWait' }] : phase === 'idle' ? NOTHING : [{ type: 'drop' }]
      return { state: { ...state, phase: 'closed' }, actions }
    }
  }
}

/**
 * How long this attempt waits for its socket to open, and again for the answer to its hello. If all gave up after the same time, a broker
 * that is too slow for that would only ever serve those that are gone already.
 */
export function patienceMs({ attempt }: ReconnectState): number {
  return Math.min(LIMITS.helloMaxMs, LIMITS.helloMs * 2 ** Math.min(attempt, 30))
}

function dropped(
  state: ReconnectState,
  event: { readonly nowMs: number; readonly random: number; readonly leastMs?: number },
  options: ReconnectOptions,
): Step {
  // A connection counts as one that held only if it was open for as long as the longest wait: a broker that welcomes and
  // fails at once must not be asked at the shortest interval for ever.
  const held = state.phase === 'open' && event.nowMs - state.openedMs >= options.maxMs
  const attempt = held ? 0 : state.attempt
  const ms =
    state.away === null
      ? backoffMs(attempt, event.random, options)
      : state.away.minMs + event.random * Math.max(0, state.away.maxMs - state.away.minMs)
  return {
    state: { phase: 'waiting', attempt: attempt + 1, openedMs: 0, away: null },
    actions: [{ type: 'wait', ms: Math.max(ms, event.leastMs ?? 0) }],
  }
}

/** Evenly spread between the least wait and a bound that doubles with each attempt, so that clients do not come back together. */
function backoffMs(attempt: number, random: number, { minMs, maxMs }: ReconnectOptions): number {
  const bound = Math.min(maxMs, minMs * 2 ** Math.min(attempt + 1, 30))
  return minMs + random * Math.max(0, bound - minMs)
}
