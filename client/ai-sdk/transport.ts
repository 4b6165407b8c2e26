/**
 * The way between `useChat` and the routes of `chatRoute`. Messages go to the route; answers come from the route too, or from the
 * broker where the page may reach it. Either way they go on through lost connections.
 */

import type { ChatTransport, UIMessage, UIMessageChunk } from 'ai'
import { type Broker, type Clock, isLitetopicError, LitetopicError, type Session, systemClock } from '../index.ts'
import { currentStream, newKey, STREAM_HEADER, stopAnswer, streamIdOf } from './current.ts'
import { type AskAgain, answerOf, type Fetch, fetched } from './follow.ts'
import { readChunks } from './read.ts'

export interface ChatTransportOptions {
  /** Where `chatRoute` is. Default `/api/chat`. */
  readonly api?: string
  /** Reads answers from it, and stops them there, instead of over the route. */
  readonly broker?: Broker
  /** The topic of a chat, as the route has it. Default: `chat/<id>`. */
  readonly topic?: (chatId: string) => string
  /** Sent with each request; a function is called for each. */
  readonly headers?: HeaderSource
  /** Sent with each message, beside what `sendMessage` is given. */
  readonly body?: Readonly<Record<string, unknown>>
  /** Default `same-origin`. */
  readonly credentials?: RequestInit['credentials']
  readonly fetch?: Fetch
  readonly clock?: Clock
}

const DEFAULT_API = '/api/chat'

type HeaderSource = Record<string, string> | (() => Record<string, string> | Promise<Record<string, string>>)

/** A transport that also stops: `useChat`'s own `stop` ends the reading of one tab, and nothing else. */
export interface StoppableTransport<M extends UIMessage> extends ChatTransport<M> {
  readonly resumeStreamIsReplay: true
  /** Stops the answer under way, for every reader and for the process that makes it. */
  stop(chatId: string): Promise<void>
}

type Sending<M extends UIMessage> = Parameters<ChatTransport<M>['sendMessages']>[0]
type Reconnecting = Parameters<ChatTransport<UIMessage>['reconnectToStream']>[0]

/** Lets `useChat` and `Chat` talk to `chatRoute`. */
export function chatTransport<M extends UIMessage = UIMessage>(
  options: ChatTransportOptions = {},
): StoppableTransport<M> {
  return new Transport(options)
}

class Transport<M extends UIMessage> implements StoppableTransport<M> {
  /** `reconnectToStream` gives the answer from its beginning. */
  readonly resumeStreamIsReplay = true
  private readonly options: ChatTransportOptions

  constructor(options: ChatTransportOptions) {
    this.options = options
  }

  async sendMessages(sending: Sending<M>): Promise<ReadableStream<UIMessageChunk>> {
    const { chatId, messages, trigger, messageId, abortSignal } = sending
    const { broker, api = DEFAULT_API } = this.options
    // A message that is sent again because nobody knows whether it arrived is answered once.
    const streamKey = newKey()
    const asked = { ...this.options.body, ...sending.body, id: chatId, messages, trigger, messageId, streamKey }
    const accept = broker === undefined ? 'text/event-stream' : 'application/json'
    const headers = { 'content-type': 'application/json', accept }
    const request = { method: 'POST', headers, body: JSON.stringify(asked) }
    const response = await this.fetch(api, request, sending, abortSignal)
    if (broker === undefined) return this.follow(response, sending, streamKey, abortSignal)
    await response.body?.cancel()
    const session = await this.session(broker, chatId)
    if (session !== null) return read(session, streamIdOf(streamKey), abortSignal)
    throw new LitetopicError('NOT_FOUND', `the route of chat ${chatId} writes to another topic than is read here`)
  }

  async reconnectToStream(reconnecting: Reconnecting): Promise<ReadableStream<UIMessageChunk> | null> {
    const { chatId, abortSignal } = reconnecting
    const { broker } = this.options
    if (broker === undefined) {
      const response = await this.fetch(this.address(chatId), { method: 'GET' }, reconnecting, abortSignal)
      if (response.status === 204) return null
      return this.follow(response, reconnecting, response.headers.get(STREAM_HEADER), abortSignal)
    }
    const session = await this.session(broker, chatId)
    const stream = session && (await currentStream(session))
    if (session !== null && stream !== null) return read(session, stream.streamId, abortSignal)
    await session?.close()
    return null
  }

  async stop(chatId: string): Promise<void> {
    const { broker } = this.options
    if (broker === undefined) {
      await this.fetch(this.address(chatId), { method: 'DELETE' }, {}, undefined)
      return
    }
    const session = await this.session(broker, chatId)
    try {
      if (session !== null) await stopAnswer(session)
    } finally {
      await session?.close()
    }
  }

  private follow(
    response: Response,
    asked: Pick<Reconnecting, 'chatId' | 'headers'>,
    key: string | null,
    signal: AbortSignal | undefined,
  ): ReadableStream<UIMessageChunk> {
    const address = this.address(asked.chatId, key)
    const again: AskAgain = (cursor, either) => {
      const headers: Record<string, string> = cursor === undefined ? {} : { 'last-event-id': cursor }
      return this.fetch(address, { method: 'GET', headers }, asked, either)
    }
    return answerOf(response, again, this.options.clock ?? systemClock, signal)
  }

  private async fetch(
    address: string,
    request: RequestInit & { readonly headers?: Record<string, string> },
    asked: Pick<Reconnecting, 'headers'>,
    signal: AbortSignal | undefined,
  ): Promise<Response> {
    const { headers = {}, credentials = 'same-origin', clock = systemClock } = this.options
    const fetch = this.options.fetch ?? globalThis.fetch.bind(globalThis)
    const once = async (): Promise<Response> => {
      const all = new Headers(typeof headers === 'function' ? await headers() : headers)
      for (const [name, value] of new Headers(asked.headers)) all.set(name, value)
      for (const [name, value] of Object.entries(request.headers ?? {})) all.set(name, value)
      return fetch(address, { ...request, headers: all, credentials, signal })
    }
    return fetched(once, clock, signal)
  }

  private address(chatId: string, key: string | null = null): string {
    const { api = DEFAULT_API } = this.options
    return `${api}/${encodeURIComponent(chatId)}/stream${key === null ? '' : `?stream=${key}`}`
  }

  /** Null if the chat has no topic, as nobody has sent anything. */
  private async session(broker: Broker, chatId: string): Promise<Session<unknown> | null> {
    const { topic = (id: string) => `chat/${id}` } = this.options
    try {
      return await broker.session<unknown>(topic(chatId), { create: false })
    } catch (error) {
      if (isLitetopicError(error, 'NOT_FOUND')) return null
      throw error
    }
  }
}

/** The session is closed behind it. */
function read(
  session: Session<unknown>,
  streamId: string,
  signal: AbortSignal | undefined,
): ReadableStream<UIMessageChunk> {
  return readChunks(session, streamId, { signal }, () => void session.close().catch(() => {}))
}
