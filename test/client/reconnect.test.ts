/** The pure machine that decides when to connect. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  NOT_CONNECTED,
  type ReconnectAction,
  type ReconnectEvent,
  type ReconnectState,
  step,
} from '../../client/reconnect.ts'

const OPTIONS = { minMs: 100, maxMs: 10_000 }

/** Runs events through the machine and gives the last state and all actions. */
function play(
  events: readonly ReconnectEvent[],
  from = NOT_CONNECTED,
): { state: ReconnectState; actions: ReconnectAction[] } {
  const actions: ReconnectAction[] = []
  let state = from
  for (const event of events) {
    const next = step(state, event, OPTIONS)
    state = next.state
    actions.push(...next.actions)
  }
  return { state, actions }
}

const dropped = (random: number, nowMs = 0): ReconnectEvent => ({ type: 'dropped', nowMs, random })
const waits = (actions: readonly ReconnectAction[]): number[] =>
  actions.flatMap((action) => (action.type === 'wait' ? [action.ms] : []))

describe('connecting', () => {
  it('does nothing until something is wanted, and then opens once', () => {
    const { state, actions } = play([{ type: 'timer' }, dropped(0), { type: 'wanted' }, { type: 'wanted' }])
    expect(actions).toEqual([{ type: 'open' }])
    expect(state.phase).toBe('connecting')
  })

  it('is open when the broker has welcomed it, not before', () => {
    expect(play([{ type: 'wanted' }]).state.phase).toBe('connecting')
    expect(play([{ type: 'wanted' }, { type: 'welcomed', nowMs: 5 }]).state).toMatchObject({
      phase: 'open',
      openedMs: 5,
    })
  })

  it('waits after a lost connection and opens again when the wait is over, also if nothing more is wanted', () => {
    const { state, actions } = play([{ type: 'wanted' }, dropped(0), { type: 'wanted' }, { type: 'timer' }])
    expect(actions.map(({ type }) => type)).toEqual(['open', 'wait', 'open'])
    expect(state.phase).toBe('connecting')
  })
})

describe('waiting', () => {
  it('doubles the longest possible wait with each failed attempt, up to the bound', () => {
    const attempts = Array.from({ length: 9 }, (): ReconnectEvent[] => [dropped(1), { type: 'timer' }]).flat()
    expect(waits(play([{ type: 'wanted' }, ...attempts]).actions)).toEqual([
      200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000,
    ])
  })

  it('never waits less than the least', () => {
    const attempts = Array.from({ length: 9 }, (): ReconnectEvent[] => [dropped(0), { type: 'timer' }]).flat()
    expect(new Set(waits(play([{ type: 'wanted' }, ...attempts]).actions))).toEqual(new Set([100]))
  })

  it('begins with short waits again after a connection that held, but not after one that fell at once', () => {
    const failed: ReconnectEvent[] = [{ type: 'wanted' }, dropped(1), { type: 'timer' }, dropped(1), { type: 'timer' }]
    const opened: ReconnectEvent = { type: 'welcomed', nowMs: 1_000 }
    expect(waits(play([...failed, opened, dropped(1, 1_001)]).actions).at(-1)).toBe(800)
    expect(waits(play([...failed, opened, dropped(1, 11_000)]).actions).at(-1)).toBe(200)
  })

  it('takes the delay that the broker asked for when it went away, once', () => {
    const open: ReconnectEvent[] = [{ type: 'wanted' }, { type: 'welcomed', nowMs: 0 }]
    const { actions } = play([
      ...open,
      { type: 'goaway', minMs: 500, maxMs: 1_500 },
      dropped(0.5),
      { type: 'timer' },
      dropped(0),
    ])
    expect(waits(actions)).toEqual([1_000, 100])
  })
})

describe('closing', () => {
  it('drops a connection, cancels a wait, and does nothing ever after', () => {
    expect(play([{ type: 'wanted' }, { type: 'close' }]).actions.at(-1)).toEqual({ type: 'drop' })
    expect(play([{ type: 'wanted' }, dropped(0), { type: 'close' }]).actions.at(-1)).toEqual({ type: 'cancelWait' })
    const { state, actions } = play([{ type: 'close' }, { type: 'wanted' }, dropped(0), { type: 'timer' }])
    expect(actions).toEqual([])
    expect(state.phase).toBe('closed')
  })
})

const anyEvent: fc.Arbitrary<ReconnectEvent> = fc.oneof(
  fc.constant<ReconnectEvent>({ type: 'wanted' }),
  fc.constant<ReconnectEvent>({ type: 'timer' }),
  fc.record({ type: fc.constant('welcomed' as const), nowMs: fc.nat(100_000) }),
  fc.record({
    type: fc.constant('dropped' as const),
    nowMs: fc.nat(100_000),
    random: fc.double({ min: 0, max: 0.999, noNaN: true }),
  }),
  fc.record({ type: fc.constant('goaway' as const), minMs: fc.nat(5_000), maxMs: fc.nat(5_000) }),
)

describe('whatever happens', () => {
  it('has at most one connection and one wait at a time, and waits within the bounds', () => {
    fc.assert(
      fc.property(fc.array(anyEvent, { maxLength: 60 }), (events) => {
        let state = NOT_CONNECTED
        let connections = 0
        let waiting = 0
        for (const event of events) {
          const before = state
          const next = step(state, event, OPTIONS)
          state = next.state
          if (event.type === 'dropped' && (before.phase === 'open' || before.phase === 'connecting')) connections--
          if (event.type === 'timer' && before.phase === 'waiting') waiting--
          for (const action of next.actions) {
            if (action.type === 'open') connections++
            if (action.type !== 'wait') continue
            waiting++
            expect(action.ms).toBeGreaterThanOrEqual(before.away?.minMs ?? OPTIONS.minMs)
            expect(action.ms).toBeLessThanOrEqual(OPTIONS.maxMs)
          }
          expect([connections, waiting]).toEqual([
            state.phase === 'connecting' || state.phase === 'open' ? 1 : 0,
            state.phase === 'waiting' ? 1 : 0,
          ])
        }
      }),
    )
  })
})
