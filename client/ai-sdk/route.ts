/** The routes of a chat, as handlers of `Request` and `Response`: send a message, come back to its answer, stop it. */

import type { UIMessage, UIMessageChunk } from 'ai'
import { type Broker, isLitetopicError, LitetopicError, type Session } from '../index.ts'
import { currentStream, keyOf, STREAM_HEADER, setCurrent, stopAnswer, streamIdOf } from './current.ts'
import { type FinishedMessage, type GenerateMessageOptions, generateMessage } from './generate.ts'
import { type Asked, chatIdOf, readAsked } from './request.ts'
import { toResponse } from './response.ts'

/** What an answer is made from. */
export interface ChatRequest<M extends UIMessage = UIMessage> extends Asked<M> {
  readonly request: Request
  /** Of the chat's topic; for `onceTools`, say. Open until the answer has ended. */
  readonly session: Session<unknown>
  readonly streamId: string
  /** Aborted when the answer is stopped: for `abortSignal` of `streamText`. A reader that leaves does not abort it. */
  readonly signal: AbortSignal
}

export interface ChatRouteOptions<M extends UIMessage = UIMessage> {
  readonly broker: Broker
  /**
   * The topic of a chat, null for one that the request may not use. Whoever knows the id of a chat may use it unless you look at
   * the request here. Default: `chat/<id>`.
   */
  readonly topic?: (chatId: string, request: Request) => string | null | PromiseLike<string | null>
  /** Makes the answer: `streamText(…).toUIMessageStream()`. The messages come from the browser: validate them. */
  readonly answer: (
    asked: ChatRequest<M>,
  ) => ReadableStream<UIMessageChunk> | PromiseLike<ReadableStream<UIMessageChunk>>
  /** Called once for each answer, see `generateMessage`. */
  readonly onFinish?: (finished: FinishedMessage<M> & { readonly chatId: string }) => unknown
  readonly ifUnknown?: GenerateMessageOptions['ifUnknown']
  /** Told of what `answer` and `onFinish` throw, and of what keeps an answer from being stored. Default: `console.error`. */
  readonly onError?: (error: unknown) => void
  /** Keeps a serverless function alive until the answer has ended: `waitUntil`, or `after` of Next.js. */
  readonly waitUntil?: (work: Promise<unknown>) => void
}

/** One handler each for the methods of HTTP. */
export interface ChatRoute {
  /** `POST /api/chat`: makes an answer, and sends it, or its stream's id as JSON to who asks for that. */
  readonly POST: (request: Request) => Promise<Response>
  /** `GET /api/chat/<id>/stream`: the answer under way, from its beginning or the `Last-Event-ID`; 204 if there is none. */
  readonly GET: (request: Request) => Promise<Response>
  /** `DELETE /api/chat/<id>/stream`: stops it, for everybody. */
  readonly DELETE: (request: Request) => Promise<Response>
}

/** Answers with 400 to requests that make no sense, with 404 where `topic` gives null, and rejects with what keeps the broker from answering. */
export function chatRoute<M extends UIMessage = UIMessage>(options: ChatRouteOptions<M>): ChatRoute {
  const route = new Route(options)
  return {
    POST: (request) => answered(() => route.send(request)),
    GET: (request) => answered(() => route.follow(request)),
    DELETE: (request) => answered(() => route.stop(request)),
  }
}

class Route<M extends UIMessage> {
  private readonly options: ChatRouteOptions<M>

  constructor(options: ChatRouteOptions<M>) {
    this.options = options
  }

  async send(request: Request): Promise<Response> {
    const asked = await readAsked<M>(request)
    const streamId = streamIdOf(asked.streamKey)
    const topic = await this.topicOf(asked.chatId, request)
    await this.begin(asked, request, await this.options.broker.session<unknown>(topic), streamId)
    if (request.headers.get('accept')?.includes('application/json')) return Response.json({ streamId }, { status: 202 })
    const session = await this.existing(topic)
    return session === null ? nothing() : this.respond(session, streamId)
  }

  async follow(request: Request): Promise<Response> {
    const session = await this.existing(await this.topicOf(chatIdOf(request), request))
    if (session === null) return nothing()
    try {
      const streamId = askedStream(request)
      const stream = streamId === undefined ? await currentStream(session) : await session.stream(streamId)
      if (stream !== null) return this.respond(session, stream.streamId, request)
    } catch (error) {
      await this.leave(session)
      throw error
    }
    await this.leave(session)
    return nothing()
  }

  async stop(request: Request): Promise<Response> {
    const session = await this.existing(await this.topicOf(chatIdOf(request), request))
    if (session === null) return nothing()
    try {
      await stopAnswer(session, askedStream(request))
    } finally {
      await this.leave(session)
    }
    return nothing()
  }

  /** Begins the answer, which goes on by itself. Resolves when its stream is there to be read, or it has failed before. */
  private async begin(asked: Asked<M>, request: Request, session: Session<unknown>, streamId: string): Promise<void> {
    const { answer, onFinish, ifUnknown, waitUntil } = this.options
    const { chatId, messages } = asked
    let opened = (): void => {}
    const opening = new Promise<void>((resolve) => {
      opened = resolve
    })
    const make = (signal: AbortSignal): ReturnType<typeof answer> => {
      opened()
      return answer({ ...asked, request, session, streamId, signal })
    }
    const finish = onFinish && ((finished: FinishedMessage<M>) => onFinish({ ...finished, chatId }))
    const run = async (): Promise<void> => {
      // Before it is opened, so that whoever comes back finds it, and can stop it.
      await setCurrent(session, streamId)
      // A request that was sent again finds it open, or over.
      if ((await session.stream(streamId)) !== null) opened()
      const finished = await generateMessage(session, streamId, make, {
        originalMessages: messages,
        onFinish: finish,
        ifUnknown,
      })
      if (finished.error !== undefined) this.report(finished.error)
    }
    const work = run()
      .catch(this.report)
      .finally(() => this.leave(session))
    waitUntil?.(work)
    await Promise.race([opening, work])
  }

  private respond(session: Session<unknown>, streamId: string, request?: Request): Response {
    const headers = { [STREAM_HEADER]: keyOf(streamId) }
    return toResponse(session, streamId, { request, headers }, () => void this.leave(session))
  }

  /** Rejects with NOT_FOUND for a chat that the request may not use. */
  private async topicOf(chatId: string, request: Request): Promise<string> {
    const { topic = (id: string) => `chat/${id}` } = this.options
    const name = await topic(chatId, request)
    if (name !== null) return name
    throw new LitetopicError('NOT_FOUND', 'the request may not use this chat')
  }

  private async existing(topic: string): Promise<Session<unknown> | null> {
    try {
      return await this.options.broker.session<unknown>(topic, { create: false })
    } catch (error) {
      if (isLitetopicError(error, 'NOT_FOUND')) return null
      throw error
    }
  }

  private async leave(session: Session<unknown>): Promise<void> {
    await session.close().catch(this.report)
  }

  private readonly report = (error: unknown): void => {
    const { onError = console.error } = this.options
    onError(error)
  }
}

function nothing(): Response {
  return new Response(null, { status: 204 })
}

/** Of `?stream=`. Throws BAD_REQUEST. */
function askedStream(request: Request): string | undefined {
  const key = new URL(request.url).searchParams.get('stream')
  return key === null ? undefined : streamIdOf(key)
}

/** Refusals of what was asked are for who asked. */
async function answered(run: () => Promise<Response>): Promise<Response> {
  try {
    return await run()
  } catch (error) {
    if (isLitetopicError(error, 'NOT_FOUND')) return new Response(error.code, { status: 404 })
    if (!isLitetopicError(error, 'BAD_REQUEST', 'BAD_NAME', 'BAD_CURSOR', 'LIMIT_EXCEEDED')) throw error
    return new Response(`${error.code}: ${error.message}`, { status: 400 })
  }
}
