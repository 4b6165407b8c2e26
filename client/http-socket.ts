/**
 * A connection over HTTP, for where WebSockets do not pass: with nothing but fetch and web streams. What the broker says comes in
 * one answer that stays open; what is to be sent goes in requests, one at a time and all that has gathered meanwhile in the next, so
 * that everything arrives in order. See PROTOCOL.md, Over HTTP. Everything above the socket is as over a WebSocket.
 */

import {
  asLitetopicError,
  CONNECTION_HEADER,
  DOWN,
  encodeFrame,
  FRAMES_TYPE,
  isErrorCode,
  LIMITS,
  MessageSplitter,
} from '../protocol/index.ts'
import type { Socket, SocketEvents, SocketFactory } from './socket.ts'

/** What is used of the platform's `fetch`. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>

const NO_BYTES = new Uint8Array(0)

/** Of an answer that refuses, so much is read: a problem document of the broker is smaller. */
const REFUSAL_BYTES = 64 * 1024

/** Opens connections over HTTP at the address of a broker's connections. */
export function httpSockets(fetch: Fetch): SocketFactory {
  return (url, events, token) => new HttpSocket(fetch, url, events, token)
}

class HttpSocket implements Socket {
  bufferedBytes = 0
  private readonly fetch: Fetch
  private readonly url: string
  private readonly events: SocketEvents
  private readonly headers: Record<string, string>
  private readonly aborter = new AbortController()
  /** Where the connection is sent to and closed, once it is open. */
  private address: string | null = null
  private queue: Uint8Array[] = []
  /** A request is under way. */
  private busy = false
  private closing = false
  private over = false

  constructor(fetch: Fetch, url: string, events: SocketEvents, token: string | undefined) {
    this.fetch = fetch
    this.url = url
    this.events = events
    this.headers = { 'content-type': FRAMES_TYPE }
    if (token !== undefined) this.headers.authorization = `Bearer ${token}`
    // Nothing is to be opened before there is a hello to open it with.
    queueMicrotask(() => this.over || events.opened())
  }

  send(message: Uint8Array): void {
    if (this.over) return
    this.queue.push(new Uint8Array(message))
    this.bufferedBytes += message.length
    this.goOn()
  }

  close(): void {
    this.closing = true
    this.goOn()
  }

  terminate(): void {
    this.end('given up')
  }

  private goOn(): void {
    if (this.busy || this.over) return
    if (this.queue.length > 0)
      void this.perform(() => (this.address === null ? this.open(this.url) : this.post(this.address)))
    else if (this.closing) void this.leave()
  }

  /** One request at a time. */
  private async perform(request: () => Promise<void>): Promise<void> {
    this.busy = true
    try {
      await request()
      this.busy = false
      this.goOn()
    } catch (error) {
      this.end(asLitetopicError(error).message)
    }
  }

  /** The first message opens the connection; its answer is all that ever comes. */
  private async open(url: string): Promise<void> {
    const body = this.gathered()
    const response = await this.request('POST', url, body)
    if (!response.ok || response.body === null) return this.refused(response)
    const id = response.headers.get(CONNECTION_HEADER)
    if (id === null) throw new Error(`${url} is not a broker's: it names no connection`)
    const address = new URL(url)
    address.pathname += `/${id}`
    this.address = address.href
    this.bufferedBytes -= body.length
    void this.read(response.body)
  }

  private async post(address: string): Promise<void> {
    const body = this.gathered()
    const response = await this.request('POST', address, body)
    if (!response.ok) return this.refused(response)
    await response.arrayBuffer()
    this.bufferedBytes -= body.length
  }

  /** Behind all that was sent. Whether or not the broker can be told, it is closed here. */
  private async leave(): Promise<void> {
    this.busy = true
    if (this.address !== null) await this.request('DELETE', this.address).catch(() => {})
    this.end('closed')
  }

  private async read(body: ReadableStream<Uint8Array>): Promise<void> {
    const splitter = new MessageSplitter((message) => {
      if (message.length > 0) this.events.message(message)
      else this.answerPing()
    })
    try {
      const reader = body.getReader()
      for (let next = await reader.read(); !next.done && !this.over; next = await reader.read()) {
        splitter.push(next.value)
      }
      this.end('the broker closed the connection')
    } catch (error) {
      this.end(asLitetopicError(error).message)
    }
  }

  /** Whatever is sent says that this side lives. */
  private answerPing(): void {
    if (!this.busy && this.queue.length === 0) this.send(NO_BYTES)
  }

  /** The messages that fit into one. */
  private gathered(): Uint8Array {
    const [first = NO_BYTES, ...others] = this.queue
    let size = first.length
    let count = 1
    for (const { length } of others) {
      if (size + length > LIMITS.clientMessageBytes) break
      size += length
      count++
    }
    const taken = this.queue.splice(0, count)
    if (count === 1) return first
    const body = new Uint8Array(size)
    let at = 0
    for (const message of taken) {
      body.set(message, at)
      at += message.length
    }
    return body
  }

  private request(method: string, url: string, body?: Uint8Array): Promise<Response> {
    const { headers, aborter } = this
    return this.fetch(url, { method, headers, body, signal: aborter.signal })
  }

  /** The broker, or what stands before it, wants no such request: that is said as the broker would on the connection. */
  private async refused(response: Response): Promise<void> {
    const { code, detail, details } = problemOf(await beginningOf(response))
    const { status } = response
    const seconds = Number(response.headers.get('retry-after') ?? Number.NaN)
    const wait = seconds >= 0 ? { retryAfterMs: seconds * 1000 } : {}
    const known = isErrorCode(code) && status !== 404 ? code : 'BROKER_UNREACHABLE'
    const message = `${this.url} answers with ${status}: ${typeof detail === 'string' ? detail : response.statusText}`
    const facts = { status, ...wait, ...(typeof details === 'object' ? details : {}) }
    this.events.message(encodeFrame([DOWN.error, 0, status === 401 ? 'UNAUTHENTICATED' : known, message, facts]))
    this.end(message)
  }

  private end(reason: string): void {
    if (this.over) return
    this.over = true
    this.queue = []
    this.bufferedBytes = 0
    this.aborter.abort()
    this.events.closed(reason)
  }
}

/** A problem document's fields, none if it is not one. */
function problemOf(text: string): { readonly code?: unknown; readonly detail?: unknown; readonly details?: unknown } {
  try {
    const problem: unknown = JSON.parse(text)
    return typeof problem === 'object' && problem !== null ? problem : {}
  } catch {
    return {}
  }
}

async function beginningOf({ body }: Response): Promise<string> {
  if (body === null) return ''
  const reader: ReadableStreamDefaultReader<Uint8Array> = body.getReader()
  const decoder = new TextDecoder()
  let text = ''
  for (let next = await reader.read(); !next.done && text.length < REFUSAL_BYTES; next = await reader.read()) {
    text += decoder.decode(next.value, { stream: true })
  }
  await reader.cancel()
  return text
}
