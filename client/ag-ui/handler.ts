/** An agent as a route: takes what HttpAgent posts, and answers with the events of the run, which goes on whoever listens. */

import type { BaseEvent, RunAgentInput } from '@ag-ui/core'
import { type Broker, type Clock, isLitetopicError, type Session, systemClock } from '../index.ts'
import { readRun } from './read.ts'
import type { EventSource } from './source.ts'
import { SSE_HEADERS, sseBody } from './sse.ts'
import { storeRun } from './store.ts'

export interface AgentHandlerOptions {
  readonly broker: Broker
  /** The agent: what `run(input)` of an AbstractAgent returns, or anything else that yields events. `signal` is aborted by a stop. */
  readonly agent: (input: RunAgentInput, signal: AbortSignal) => EventSource<BaseEvent>
  /**
   * Name of the session of a thread, or the response that refuses: here access is decided, by your rules. Default: `threads/` and the
   * thread's id, for everybody who knows it.
   */
  readonly topic?: (input: RunAgentInput, request: Request) => string | Response | Promise<string | Response>
  /** Keeps a serverless function alive until the run is stored. */
  readonly waitUntil?: (stored: Promise<unknown>) => void
  /** Told when a run could not be stored. Its readers see a RUN_ERROR. */
  readonly onError?: (error: unknown) => void
  /** Another clock than the platform's. */
  readonly clock?: Clock
}

/**
 * Answers a POST of RunAgentInput. A run is started once: a request for one that is there already reads it, from its start or behind
 * `Last-Event-ID`. Who goes away stops nothing; `session.stop(runId)` does. Refuses with 400 what is no input, and with 404, 409 or 503
 * what the broker refuses.
 */
export function agentHandler(options: AgentHandlerOptions): (request: Request) => Promise<Response> {
  const { broker, topic = ({ threadId }) => `threads/${threadId}` } = options
  return async (request) => {
    const input = await readInput(request)
    if (input === null) return refusal(400, 'BAD_REQUEST', 'the body is no RunAgentInput: threadId, runId, messages')
    const name = await topic(input, request)
    if (typeof name !== 'string') return name
    try {
      const session = await broker.session(name)
      return await answer(session, input, request.headers.get('last-event-id'), options).catch(async (error) => {
        await session.close().catch(() => {})
        throw error
      })
    } catch (error) {
      if (!isLitetopicError(error)) throw error
      return refusal(error.code === 'BAD_NAME' ? 400 : 503, error.code, error.message)
    }
  }
}

async function answer(
  session: Session,
  input: RunAgentInput,
  from: string | null,
  { agent, waitUntil, onError, clock = systemClock }: AgentHandlerOptions,
): Promise<Response> {
  const { runId } = input
  const reading = new AbortController()
  const stream = await session.stream(runId)
  const isThere = stream !== null && (stream.live || ['done', 'stopped', 'failed'].includes(stream.state))
  let stored: Promise<unknown> = Promise.resolve()
  if (from === null && !isThere) {
    stored = storeRun(session, runId, (signal) => agent(input, signal)).catch((error) => {
      reading.abort(error)
      onError?.(error)
    })
    waitUntil?.(stored)
  }
  const events = readRun(session, runId, { from: from ?? undefined, signal: reading.signal })
  const body = sseBody(events, clock, () => {
    reading.abort()
    void stored.then(() => session.close()).catch((error) => onError?.(error))
  })
  return new Response(body, { headers: SSE_HEADERS })
}

/** Null for what is none; the framework that runs the route bounds its size. */
async function readInput(request: Request): Promise<RunAgentInput | null> {
  const input: unknown = await request.json().catch(() => null)
  if (typeof input !== 'object' || input === null) return null
  const { threadId, runId, messages, tools, context } = input as Partial<Record<keyof RunAgentInput, unknown>>
  if (typeof threadId !== 'string' || typeof runId !== 'string' || !Array.isArray(messages)) return null
  // They may be left out, and the type says that they are there.
  return { ...(input as RunAgentInput), tools: listOf(tools), context: listOf(context) }
}

function listOf<T>(value: unknown): T[] {
  return Array.isArray(value) ? value : []
}

function refusal(status: number, code: string, message: string): Response {
  return Response.json({ code, message }, { status })
}
