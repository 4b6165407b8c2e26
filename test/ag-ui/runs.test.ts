/** Runs of agents stored and given back: without a loss, from anywhere, joined, and with an end that AG-UI accepts however they ended. */

import { setImmediate as turn } from 'node:timers/promises'
import type { BaseEvent } from '@ag-ui/client'
import { EventType } from '@ag-ui/core'
import fc from 'fast-check'
import { Observable } from 'rxjs'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { type Broker as Server, startBroker } from '../../broker/index.ts'
import { writeEvent } from '../../client/ag-ui/events.ts'
import { type RunEvent, readRun, storeRun } from '../../client/ag-ui/index.ts'
import { type Broker, connect, type Session } from '../../client/index.ts'
import { answer, anyRun, collect, eventsOf, finished, joined, started, text, textStart, verified } from './events.ts'

let server: Server
const brokers: Broker[] = []
let names = 0

beforeAll(async () => {
  // A writer that is gone is lost at once.
  server = await startBroker({ port: 0, dataDir: null, streamGraceMs: 0 })
})

afterEach(async () => {
  await Promise.all(brokers.splice(0).map((broker) => broker.close().catch(() => {})))
})

afterAll(() => server.close())

/** A session of a process of its own. */
async function open(name = `thread-${++names}`): Promise<Session> {
  const broker = connect(server.url)
  brokers.push(broker)
  return broker.session(name)
}

const never = (): never => {
  throw new Error('this must not run')
}

/** Writes some events and vanishes. */
async function vanish(name: string, events: readonly BaseEvent[]): Promise<void> {
  const session = await open(name)
  const stream = await session.openStream('run-1')
  for (const event of events) await writeEvent(stream, event)
  await stream.flush()
  await brokers.pop()?.close()
}

describe('a run', () => {
  it('comes back as it was, from its start or behind any of its events, and AG-UI accepts it', async () => {
    const session = await open()
    const reader = await open(session.name)
    expect(await storeRun(session, 'run-1', () => answer())).toEqual({ end: 'done', detail: undefined })
    const raw = await collect(readRun(reader, 'run-1', { raw: true }))
    expect(raw.map(({ event }) => event)).toEqual(answer())
    const coalesced = await eventsOf(readRun(reader, 'run-1'))
    expect(joined(coalesced)).toEqual(joined(answer()))
    expect(await verified(coalesced)).toEqual(coalesced)
    expect(coalesced.filter(({ delta }) => delta !== undefined).map(({ delta }) => delta)).toEqual([
      'It rains.',
      'Hello, wörld 😀',
      '{"city":"Rome"}',
      '!',
    ])
    for (const [i, { cursor }] of raw.entries()) {
      expect(cursor).not.toBeNull()
      const rest = await eventsOf(readRun(reader, 'run-1', { from: cursor as string, raw: true }))
      expect(rest).toEqual(answer().slice(i + 1))
    }
  })

  it('of any valid events comes back as it was, or joined, from wherever a reader was', async () => {
    const session = await open()
    const reader = await open(session.name)
    let runs = 0
    await fc.assert(
      fc.asyncProperty(anyRun(false), fc.nat(), async (events, cut) => {
        const runId = `run ${++runs}`
        await verified(events)
        const stored = events.map((event) => JSON.parse(JSON.stringify(event)) as BaseEvent)
        await storeRun(session, runId, () => events)
        const raw = await collect(readRun(reader, runId, { raw: true }))
        expect(raw.map(({ event }) => event)).toEqual(stored)
        const coalesced = await collect(readRun(reader, runId))
        expect(joined(coalesced.map(({ event }) => event))).toEqual(joined(stored))
        await verified(coalesced.map(({ event }) => event))
        // Who keeps what came up to the last cursor, and goes on there, has the same in the end.
        const kept = coalesced.slice(0, cut % (coalesced.length + 1))
        while (kept.length > 0 && kept.at(-1)?.cursor === null) kept.pop()
        const rest = await collect(readRun(reader, runId, { from: kept.at(-1)?.cursor ?? undefined }))
        expect(joined([...kept, ...rest].map(({ event }) => event))).toEqual(joined(stored))
      }),
      { numRuns: 40 },
    )
  })

  it('beside others comes back alone, also where their deltas overlap, and is gone on with anywhere', async () => {
    const session = await open()
    const ids = ['a', 'b', 'c']
    const turns = async function* (id: string) {
      yield started(id)
      yield textStart(id)
      yield { type: EventType.TOOL_CALL_START, toolCallId: `${id}-call`, toolCallName: 'tool' }
      for (let i = 0; i < 12; i++) {
        yield text(id, `${id}${i};`)
        yield { type: EventType.TOOL_CALL_ARGS, toolCallId: `${id}-call`, delta: `${i}` }
        if (i % 5 === 0) await turn()
      }
      yield { type: EventType.TOOL_CALL_END, toolCallId: `${id}-call` }
      yield { type: EventType.TEXT_MESSAGE_END, messageId: id }
      yield finished(id)
    }
    await Promise.all(ids.map((id) => storeRun(session, id, () => turns(id))))
    const reader = await open(session.name)
    for (const id of ids) {
      const whole: BaseEvent[] = []
      for await (const event of turns(id)) whole.push(event)
      const events = await collect(readRun(reader, id))
      expect(joined(events.map(({ event }) => event))).toEqual(joined(whole))
      expect(events.length).toBeLessThan(whole.length)
      for (const [i, { cursor }] of events.entries()) {
        if (cursor === null) continue
        const rest = await eventsOf(readRun(reader, id, { from: cursor }))
        expect(joined([...events.slice(0, i + 1).map(({ event }) => event), ...rest])).toEqual(joined(whole))
      }
    }
  })

  it('is read while it is written, and may be waited for', async () => {
    const session = await open()
    const reading = collect(readRun(await open(session.name), 'run-1', { raw: true }))
    const live = async function* () {
      for (const event of answer()) {
        await turn()
        yield event
      }
    }
    await storeRun(session, 'run-1', live)
    expect((await reading).map(({ event }) => event)).toEqual(answer())
  })

  it('may hold an event of any size', async () => {
    const session = await open()
    const messages = [{ id: '1', role: 'user', content: '😀é"\\'.repeat(200_000) }]
    const events = [
      started(),
      { type: EventType.MESSAGES_SNAPSHOT, messages },
      text('m', 'x'.repeat(100_000)),
      finished(),
    ]
    await storeRun(session, 'run-1', () => events)
    const raw = await collect(readRun(await open(session.name), 'run-1'))
    // Not toEqual, whose report would be as large.
    expect(JSON.stringify(raw.map(({ event }) => event)) === JSON.stringify(events)).toBe(true)
    const rest = await eventsOf(readRun(session, 'run-1', { from: raw[0]?.cursor as string }))
    expect(JSON.stringify(rest) === JSON.stringify(events.slice(1))).toBe(true)
  })

  it('is refused where something would be lost: the run ends there, with the reason', async () => {
    const session = await open()
    const events = [started(), { type: EventType.CUSTOM, name: 'date', value: new Date(0) }, finished()] as BaseEvent[]
    expect(await storeRun(session, 'run-1', () => events)).toMatchObject({
      end: 'failed',
      error: { code: 'BAD_VALUE' },
    })
    const stored = await eventsOf(readRun(session, 'run-1'))
    expect(stored).toMatchObject([started(), { type: EventType.RUN_ERROR, code: 'BAD_VALUE' }])
    const other = await session.openStream('other')
    other.write('token')
    await other.end()
    await expect(eventsOf(readRun(session, 'other'))).rejects.toMatchObject({ code: 'BAD_VALUE' })
  })
})

describe('an agent', () => {
  it('runs once, whoever asks, and all get its events', async () => {
    const sessions = [await open('shared'), await open('shared'), await open('shared')]
    let runs = 0
    const agent = async function* () {
      runs++
      for (const event of answer()) {
        await turn()
        yield event
      }
    }
    const results = await Promise.all(sessions.map((session) => storeRun(session, 'run-1', agent)))
    expect(results.map(({ end }) => end)).toEqual(['done', 'done', 'done'])
    expect(runs).toBe(1)
    expect(await storeRun(await open('shared'), 'run-1', never)).toMatchObject({ end: 'done' })
  })

  it('may be an Observable, which keeps what it gave before it failed', async () => {
    const session = await open()
    const failing = new Observable<BaseEvent>((subscriber) => {
      for (const event of [started(), textStart('m'), text('m', 'so far')]) subscriber.next(event)
      subscriber.error(new Error('no more'))
    })
    expect(await storeRun(session, 'run-1', () => failing)).toMatchObject({
      end: 'failed',
      error: new Error('no more'),
    })
    const events = await eventsOf(readRun(session, 'run-1'))
    const error = { type: EventType.RUN_ERROR, message: 'no more' }
    expect(events).toEqual([started(), textStart('m'), text('m', 'so far'), error])
    await verified(events)
  })

  it('that says itself that it failed has failed, in its own words', async () => {
    const session = await open()
    const error = { type: EventType.RUN_ERROR, message: 'over quota', code: 'quota' }
    const stored = await storeRun(session, 'run-1', () => [started(), error])
    expect(stored).toEqual({ end: 'failed', detail: { message: 'over quota' } })
    expect(await eventsOf(readRun(session, 'run-1'))).toEqual([started(), error])
  })

  it('that is stopped is told, and its run ends as cancelled, with all closed that was open', async () => {
    const session = await open()
    const reader = await open(session.name)
    const begun = answer().slice(0, 15)
    let unsubscribed = false
    const hanging = new Observable<BaseEvent>((subscriber) => {
      for (const event of begun) subscriber.next(event)
      subscriber.next({ type: EventType.STEP_STARTED, stepName: 'hang' })
      subscriber.next({ type: EventType.SUBAGENT_STARTED, subagentRunId: 's', name: 'sub' })
      return () => {
        unsubscribed = true
      }
    })
    const running = storeRun(session, 'run-1', () => hanging)
    const seen: RunEvent[] = []
    for await (const event of readRun(reader, 'run-1')) {
      seen.push(event)
      if (event.event.type === EventType.SUBAGENT_STARTED) await reader.stop('run-1', { reason: 'enough' })
    }
    expect(await running).toMatchObject({ end: 'stopped', detail: { reason: 'enough' } })
    expect(unsubscribed).toBe(true)
    const events = await verified(seen.map(({ event }) => event))
    expect(events.slice(-5)).toEqual([
      { type: EventType.SUBAGENT_FINISHED, subagentRunId: 's' },
      { type: EventType.STEP_FINISHED, stepName: 'hang' },
      { type: EventType.TOOL_CALL_END, toolCallId: 'call-1' },
      { type: EventType.TEXT_MESSAGE_END, messageId: 'm' },
      { ...finished(), outcome: { type: 'cancelled' } },
    ])
    // Also for who reads only the end of it.
    const last = seen.findLast(({ cursor }) => cursor !== null)?.cursor as string
    expect(await eventsOf(readRun(reader, 'run-1', { from: last }))).toEqual(events.slice(-5))
    await reader.stop('never')
    expect(await eventsOf(readRun(reader, 'never'))).toMatchObject([{ type: EventType.RUN_ERROR, code: 'RUN_STOPPED' }])
  })
})

describe('a run whose process is gone', () => {
  it('ends for readers with a RUN_ERROR, wherever it was cut off', async () => {
    await fc.assert(
      fc.asyncProperty(anyRun(true), async (events) => {
        const name = `lost-${++names}`
        await vanish(name, events)
        const read = await eventsOf(readRun(await open(name), 'run-1'))
        expect(read.pop()).toMatchObject({ type: EventType.RUN_ERROR, code: 'RUN_LOST' })
        expect(joined(read)).toEqual(joined(events.map((event) => JSON.parse(JSON.stringify(event)) as BaseEvent)))
        await verified([...read, { type: EventType.RUN_ERROR, message: '' }])
      }),
      { numRuns: 8 },
    )
  })

  it('runs again for who asks, behind the end of the first attempt', async () => {
    await vanish('again', [started(), textStart('m'), text('m', 'Hel')])
    const session = await open('again')
    expect(await storeRun(session, 'run-1', () => answer())).toMatchObject({ end: 'done' })
    const events = await eventsOf(readRun(await open('again'), 'run-1', { raw: true }))
    expect(events.slice(0, 3)).toEqual([started(), textStart('m'), text('m', 'Hel')])
    expect(events[3]).toMatchObject({ type: EventType.RUN_ERROR, code: 'RUN_INTERRUPTED' })
    expect(events.slice(4)).toEqual(answer())
    await verified(events)
  })

  it('does not run again if all of it is there', async () => {
    await vanish('whole', answer())
    expect(await storeRun(await open('whole'), 'run-1', never)).toMatchObject({ end: 'done' })
    expect(await eventsOf(readRun(await open('whole'), 'run-1', { raw: true }))).toEqual(answer())
    const error = { type: EventType.RUN_ERROR, message: 'over quota' }
    await vanish('failed', [started(), error])
    expect(await storeRun(await open('failed'), 'run-1', never)).toMatchObject({ end: 'failed' })
    expect(await eventsOf(readRun(await open('failed'), 'run-1'))).toEqual([started(), error])
  })

  it('that begins again while it is read goes on for the reader', async () => {
    const name = 'goes-on'
    const first = await open(name)
    const dying = brokers.at(-1)
    const reader = readRun(await open(name), 'run-1', { raw: true })
    const stream = await first.openStream('run-1')
    await writeEvent(stream, started())
    expect((await reader.next()).value).toMatchObject({ event: started() })
    const session = await open(name)
    // Takes it over, as it would after a crash.
    const next = await session.continue('run-1')
    await writeEvent(next, { type: EventType.RUN_ERROR, message: 'cut off' })
    for (const event of answer()) await writeEvent(next, event)
    await next.end()
    await dying?.close()
    const rest: BaseEvent[] = []
    for await (const { event } of reader) rest.push(event)
    expect(rest.slice(1)).toEqual(answer())
  })
})

it('reading ends with the signal, and with the session', async () => {
  const session = await open()
  const stop = new AbortController()
  const reading = collect(readRun(session, 'run-1', { signal: stop.signal }))
  stop.abort(new Error('enough'))
  await expect(reading).rejects.toThrow('enough')
  const other = collect(readRun(session, 'run-1'))
  await session.delete()
  await expect(other).rejects.toMatchObject({ code: 'GONE' })
  await vi.waitFor(() => undefined)
})
