/**
 * The routes by which a client of the LangGraph SDK comes back to a run: `joinStream`, which goes on behind the last event that it
 * has, and `cancel`. A `Request` in, a `Response` out, for whatever serves them.
 */

import { type Clock, isLitetopicError, type Session, systemClock } from '../index.ts'
import { type ReadRunOptions, type RunEnd, readRun, type StoredEvent } from './read-run.ts'

export interface JoinRunsOptions {
  /**
   * The session that has the runs of a thread, opened for this request alone: it is closed with the answer. Null if there is no such thread, or
   * the request may not see it. Use `{ create: false }`.
   */
  session(threadId: string | null, request: Request): Promise<Session | null> | Session | null
  /** Another clock than the platform's. */
  readonly clock?: Clock
}

const ROUTE = /(?:\/threads\/([^/]+))?\/runs\/([^/]+)\/(stream|cancel)$/
/** Of silence before a comment is sent: the SDK takes a connection for dead that falls silent after some of them. */
const HEARTBEAT_MS = 15_000

/**
 * Answers `GET …/threads/<thread>/runs/<run>/stream` with the events of a run from its beginning, or behind `Last-Event-ID`, until it ends, and
 * `POST …/cancel` by stopping it. What comes before `threads` in the path is of no matter. 404 for other requests, threads and runs.
 */
export function joinRuns(options: JoinRunsOptions): (request: Request) => Promise<Response> {
  return async (request) => {
    const url = new URL(request.url)
    const route = routeOf(url.pathname)
    if (route === null) return refusal(404, 'there is no such route')
    const { path, threadId, runId, verb } = route
    if (request.method !== (verb === 'stream' ? 'GET' : 'POST')) return refusal(405, `not ${request.method}`)
    const session = await sessionOf(options, threadId, request)
    if (session === null || (await session.stream(runId)) === null) {
      await session?.close()
      return refusal(404, `there is no run ${runId}`)
    }
    if (verb === 'stream') return new RunResponse(session, options.clock ?? systemClock).open(runId, request, path)
    await session.stop(runId)
    await session.close()
    return new Response(null, { status: 204 })
  }
}

interface Route {
  /** From `threads` or `runs` on. */
  readonly path: string
  readonly threadId: string | null
  readonly runId: string
  readonly verb: string
}

function routeOf(pathname: string): Route | null {
  const [path, thread, run, verb] = ROUTE.exec(pathname) ?? []
  if (path === undefined || run === undefined || verb === undefined) return null
  try {
    return {
      path,
      threadId: thread === undefined ? null : decodeURIComponent(thread),
      runId: decodeURIComponent(run),
      verb,
    }
  } catch {
    // Not percent-encoded UTF-8.
    return null
  }
}

async function sessionOf(options: JoinRunsOptions, thread: string | null, request: Request): Promise<Session | null> {
  try {
    return await options.session(thread, request)
  } catch (error) {
    if (isLitetopicError(error, 'NOT_FOUND', 'BAD_NAME')) return null
    throw error
  }
}

function refusal(status: number, detail: string): Response {
  return Response.json({ detail }, { status })
}

/** One answer of server-sent events. */
class RunResponse {
  private readonly session: Session
  private readonly clock: Clock
  private readonly stopped = new AbortController()
  private readonly encoder = new TextEncoder()
  private timer: unknown = null

  constructor(session: Session, clock: Clock) {
    this.session = session
    this.clock = clock
  }

  open(runId: string, request: Request, path: string): Response {
    const last = request.headers.get('last-event-id')
    // The SDK says -1 for all that there is.
    const cursor = last === null || last === '-1' ? undefined : last
    const options: ReadRunOptions = { cursor, signal: this.stopped.signal }
    const wanted = modes(new URL(request.url).searchParams.get('stream_mode'))
    const events = readRun(this.session, runId, options)
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        if (cursor === undefined) this.send(controller, null, 'metadata', { run_id: runId })
        this.beat(controller)
      },
      pull: (controller) => this.pull(controller, events, wanted),
      cancel: (reason) => this.close(reason),
    })
    const headers = {
      'content-type': 'text/event-stream',
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no',
      // Where the SDK comes back to by itself when the connection breaks.
      location: path,
    }
    return new Response(body, { headers })
  }

  /** Sends the next event that is wanted. */
  private async pull(
    controller: ReadableStreamDefaultController<Uint8Array>,
    events: AsyncGenerator<StoredEvent, RunEnd>,
    wanted: ReadonlySet<string> | null,
  ): Promise<void> {
    try {
      for (;;) {
        const { done, value } = await events.next()
        if (done) return await this.end(controller, value)
        const { event, data, cursor } = value
        if (wanted !== null && !wanted.has(event.split('|')[0] as string)) continue
        this.send(controller, cursor, event, data)
        return
      }
    } catch (error) {
      if (this.stopped.signal.aborted) return
      const code = isLitetopicError(error) ? error.code : 'Error'
      this.send(controller, null, 'error', { error: code, message: String(error) })
      controller.close()
      await this.close(error)
    }
  }

  private async end(controller: ReadableStreamDefaultController<Uint8Array>, { state, detail }: RunEnd): Promise<void> {
    if (state === 'failed') this.send(controller, null, 'error', { error: 'Error', ...(detail as object) })
    controller.close()
    await this.close('the run has ended')
  }

  private send(
    controller: ReadableStreamDefaultController<Uint8Array>,
    id: string | null,
    event: string,
    data: unknown,
  ): void {
    const lines = [`event: ${event}`, `data: ${JSON.stringify(data, asDict)}`]
    const all = id === null ? lines : [`id: ${id}`, ...lines]
    controller.enqueue(this.encoder.encode(`${all.join('\n')}\n\n`))
  }

  private beat(controller: ReadableStreamDefaultController<Uint8Array>): void {
    this.timer = this.clock.setTimeout(() => {
      if ((controller.desiredSize ?? 0) > 0) controller.enqueue(this.encoder.encode(': heartbeat\n\n'))
      this.beat(controller)
    }, HEARTBEAT_MS)
  }

  private async close(reason: unknown): Promise<void> {
    this.clock.clearTimeout(this.timer)
    this.stopped.abort(reason)
    await this.session.close()
  }
}

/** Which events a client wants; null for all. */
function modes(asked: string | null): ReadonlySet<string> | null {
  if (asked === null) return null
  // One, or a list as JSON.
  const names = asked.match(/[a-z-]+/g) ?? []
  return new Set(names.map((name) => (name === 'messages-tuple' ? 'messages' : name)))
}

/** Messages as LangGraph's server sends them: their fields, and their type. */
function asDict(this: Readonly<Record<string, unknown>>, key: string, value: unknown): unknown {
  const raw = this[key]
  if (raw === null || typeof raw !== 'object' || !('toDict' in raw) || typeof raw.toDict !== 'function') return value
  const { type, data } = raw.toDict() as { type: string; data: object }
  return { ...data, type }
}
