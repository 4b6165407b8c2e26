/**
 * The event store of an MCP session: what its server sends lies in the session's topic before it is sent, so that a client that comes
 * back gets the rest, from whichever process it reaches. It also closes a gap of the SDK, in which an event that is stored while another
 * request is being answered with a replay is neither replayed nor sent.
 */

import type { EventId, EventStore, StreamId } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import type { JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js'
import {
  type Broker,
  isLitetopicError,
  type Json,
  LitetopicError,
  type Reader,
  type Session,
  type SessionOptions,
  type SessionRecord,
  type Stored,
} from '../index.ts'
import { eventId, parseEventId } from './event-id.ts'

export interface EventStoreOptions {
  /** Topics are named `<prefix>/<session id>`. Default `mcp`. */
  readonly prefix?: string
  /** How long the events outlive the last process that has the session open, in ms. Default: the broker's policy. */
  readonly lingerMs?: SessionOptions<Json>['lingerMs']
  /** With false, a session that has no events is NOT_FOUND: for one that another process began. Default true. */
  readonly create?: boolean
  /** Told why events that another process writes do not come any more to a client that waits for them here. */
  readonly onError?: (error: unknown) => void
}

type Send = (eventId: EventId, message: JSONRPCMessage) => Promise<void>

/** An event as it is stored. A priming event has the message `{}`. */
interface StoredEvent {
  readonly stream: StreamId
  /** The store that wrote it, so that another one knows that it did not. */
  readonly by: string
  readonly message: JSONRPCMessage
}

/** The SDK's name for the stream of what belongs to no request. */
const STANDALONE = '_GET_stream'
const NOT_THERE = { trimmed: 'TRIMMED', recreated: 'RECREATED', gone: 'GONE', diverged: 'DIVERGED' } as const
/** One segment of a name. */
const SESSION_ID = /^[A-Za-z0-9._~:@-]{1,200}$/
/** Messages of more UTF-16 units may be uploaded rather than appended, and then take their place in the log later. */
const SMALL_UNITS = 64 * 1024
/** Within so many turns of the microtask queue, the transport that asked for a replay has put its new stream in place. */
const TURNS = 8

/**
 * For `eventStore` of a StreamableHTTPServerTransport: one for each MCP session. `storeEvent` resolves when the event is durable, and
 * rejects when it cannot be, with FENCED, GONE, BUFFER_FULL and the like: then the SDK has not sent it either.
 */
export class LitetopicEventStore implements EventStore {
  /** The topic of the session. */
  readonly topic: string
  private readonly broker: Broker
  private readonly options: EventStoreOptions
  private readonly id = crypto.randomUUID()
  private opening: Promise<Session<Json>> | null = null
  private session: Session<Json> | null = null
  /** The last event of a stream behind which others have to wait, so that none overtakes it. */
  private readonly tails = new Map<StreamId, Promise<unknown>>()
  /** Replays under way, each until its transport sends what is stored from then on. */
  private readonly replays = new Set<Promise<void>>()
  /** Streams of requests of which this store has an event, but not yet the answer. */
  private readonly unanswered = new Set<StreamId>()
  private allAnswered: { readonly promise: Promise<void>; resolve(): void } | null = null
  /** Streams that another process writes, and that a client follows here. */
  private readonly followed = new Map<StreamId, AbortController>()

  /** Does nothing before the first event. Throws BAD_NAME for a session id that is not one segment of a topic's name. */
  constructor(broker: Broker, sessionId: string, options: EventStoreOptions = {}) {
    if (!SESSION_ID.test(sessionId) || /^\.{1,2}$/.test(sessionId)) {
      throw new LitetopicError('BAD_NAME', 'an MCP session id must be 1–200 of A-Z a-z 0-9 . _ ~ : @ -')
    }
    this.broker = broker
    this.options = options
    this.topic = `${options.prefix ?? 'mcp'}/${sessionId}`
  }

  async storeEvent(streamId: StreamId, message: JSONRPCMessage): Promise<EventId> {
    if (streamId !== STANDALONE) this.unanswered.add(streamId)
    const stored = await this.append(streamId, { stream: streamId, by: this.id, message }).finally(() => {
      if (isAnswer(message)) this.noteAnswer(streamId)
    })
    // A replay that began before may have sent it, or else its stream takes over now: the transport looks for both next.
    await Promise.all(this.replays)
    return eventId(stored)
  }

  /**
   * Sends what lies behind the event in its stream, and then whatever another process still writes there. Rejects with BAD_CURSOR for
   * an id that is none; RECREATED, TRIMMED or DIVERGED for one of another session or of events that are gone; NOT_FOUND.
   */
  replayEventsAfter(lastEventId: EventId, { send }: { readonly send: Send }): Promise<StreamId> {
    const replay = this.replay(lastEventId, send)
    const inPlace = replay.then(someTurns, someTurns)
    this.replays.add(inPlace)
    void inPlace.then(() => this.replays.delete(inPlace))
    // The same promise, so that the SDK goes on in the turn in which it resolves.
    return replay
  }

  /** Is there a session of that id, whichever process began it? Rejects with what ends the connection. */
  async exists(): Promise<boolean> {
    try {
      await this.broker.describe(this.topic)
      return true
    } catch (error) {
      if (isLitetopicError(error, 'NOT_FOUND')) return false
      throw error
    }
  }

  /** Resolves when every request that this store has seen begin is answered: until then its transport must not be closed. */
  answered(): Promise<void> {
    if (this.unanswered.size === 0) return Promise.resolve()
    this.allAnswered ??= withResolvers()
    return this.allAnswered.promise
  }

  /** Leaves the topic, which then lasts for its linger. For `onclose` of the transport. */
  async close(): Promise<void> {
    for (const following of this.followed.values()) following.abort()
    this.followed.clear()
    const session = await this.opening?.catch(() => null)
    await session?.close()
  }

  /** Deletes all events: for `onsessionclosed` of the transport. */
  async delete(): Promise<void> {
    await this.close()
    await this.broker.delete(this.topic)
  }

  private append(streamId: StreamId, event: StoredEvent): Promise<Stored> {
    const write = async (): Promise<Stored> => {
      const session = this.session ?? (await this.open())
      return session.append(event as unknown as Json)
    }
    const before = this.tails.get(streamId)
    const isSmall = JSON.stringify(event.message).length <= SMALL_UNITS
    if (before === undefined && isSmall && this.session !== null) return write()
    const stored = before === undefined ? write() : before.then(write, write)
    this.tails.set(streamId, stored)
    const over = (): void => {
      if (this.tails.get(streamId) === stored) this.tails.delete(streamId)
    }
    void stored.then(over, over)
    return stored
  }

  private noteAnswer(streamId: StreamId): void {
    this.unanswered.delete(streamId)
    if (this.unanswered.size > 0) return
    this.allAnswered?.resolve()
    this.allAnswered = null
  }

  private async replay(lastEventId: EventId, send: Send): Promise<StreamId> {
    const { cursor, offset } = parseEventId(lastEventId)
    const session = this.session ?? (await this.open(false))
    const { outcome, nextOffset } = await session.resume({ cursor })
    if (outcome !== 'continued') {
      throw new LitetopicError(NOT_THERE[outcome], `${this.topic} does not go on there: ${outcome}`, {
        outcome,
        cursor,
      })
    }
    if (offset >= nextOffset) throw noEvent(this.topic)
    const reader = session.records({ from: { offset } })
    let goesOn = false
    try {
      const first = await eventOf((await reader.next()).value)
      if (first === null) throw noEvent(this.topic)
      let answered = false
      for (let at = offset; at < nextOffset - 1; ) {
        const { value: record } = await reader.next()
        if (record === undefined) break
        at = record.lastOffset
        answered = isAnswer(await this.sendOn(record, first.stream, send)) || answered
      }
      this.followed.get(first.stream)?.abort()
      // What this store takes itself, its transport sends.
      goesOn = !answered && first.by !== this.id
      if (goesOn) void this.follow(first.stream, reader, send)
      return first.stream
    } finally {
      if (!goesOn) await reader.return()
    }
  }

  /** Sends what others write, for as long as somebody may read it here: to the answer, or until the client comes again. */
  private async follow(stream: StreamId, reader: Reader<SessionRecord<Json>>, send: Send): Promise<void> {
    const following = new AbortController()
    this.followed.set(stream, following)
    following.signal.addEventListener('abort', () => void reader.return())
    try {
      for await (const record of reader) {
        if (isAnswer(await this.sendOn(record, stream, send, this.id))) break
      }
    } catch (error) {
      if (!isLitetopicError(error, 'CONNECTION_CLOSED')) this.options.onError?.(error)
    } finally {
      if (this.followed.get(stream) === following) this.followed.delete(stream)
    }
  }

  /** What it sent, or null: priming events say nothing, and what `but` wrote the transport has sent. */
  private async sendOn(
    record: SessionRecord<Json>,
    stream: StreamId,
    send: Send,
    but?: string,
  ): Promise<JSONRPCMessage | null> {
    const event = await eventOf(record)
    if (event === null || event.stream !== stream || event.by === but) return null
    if (Object.keys(event.message).length === 0) return null
    await send(eventId(record), event.message)
    return event.message
  }

  private async open(create = this.options.create ?? true): Promise<Session<Json>> {
    try {
      this.opening ??= this.attach(create)
      return await this.opening
    } catch (error) {
      // A replay looked for it first.
      if (!create || !isLitetopicError(error, 'NOT_FOUND')) throw error
      this.opening ??= this.attach(true)
      return this.opening
    }
  }

  private async attach(create: boolean): Promise<Session<Json>> {
    try {
      const { lingerMs } = this.options
      this.session = await this.broker.session<Json>(this.topic, create ? { lingerMs } : { create })
      return this.session
    } catch (error) {
      this.opening = null
      throw error
    }
  }
}

async function eventOf(record: SessionRecord<Json> | undefined): Promise<StoredEvent | null> {
  if (record?.kind !== 'message') return null
  const value = record.large ? await record.large.json() : record.value
  const { stream, message } = (value ?? {}) as Partial<StoredEvent>
  const isEvent = typeof stream === 'string' && typeof message === 'object' && message !== null
  return isEvent ? (value as unknown as StoredEvent) : null
}

function isAnswer(message: JSONRPCMessage | null): boolean {
  return message !== null && ('result' in message || 'error' in message)
}

function withResolvers(): { readonly promise: Promise<void>; resolve(): void } {
  let resolve = (): void => undefined
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve: () => resolve() }
}

async function someTurns(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await null
}

function noEvent(topic: string): LitetopicError {
  return new LitetopicError('BAD_CURSOR', `there is no event of that id in ${topic}`)
}
