/** What resumable-stream asks of a Redis client that subscribes, on topics: what is published while somebody listens. */

import type { Subscriber } from 'resumable-stream/generic'
import { type Broker, isLitetopicError, type Session, type SessionRecord } from '../index.ts'
import { channelTopic } from './names.ts'

/** A channel that nobody listens to goes after this time: one who lost the connection finds what was published meanwhile. */
const CHANNEL = { lingerMs: 60_000 }

type Listener = (message: string) => unknown

export interface SubscriberOptions {
  /** Told of what a listener throws, and of what ends a subscription for good. Default: thrown where nobody catches it. */
  readonly onError?: (error: unknown) => void
}

/**
 * `subscribe` resolves when nothing that is published from then on will be missed: also not through lost connections and restarts of
 * the broker. `connect` does nothing: the broker is reached when it is needed.
 */
export function createSubscriber(broker: Broker, options: SubscriberOptions = {}): Subscriber {
  return new TopicSubscriber(broker, options.onError ?? throwLater)
}

class TopicSubscriber implements Subscriber {
  private readonly broker: Broker
  private readonly onError: (error: unknown) => void
  private readonly channels = new Map<string, Channel>()

  constructor(broker: Broker, onError: (error: unknown) => void) {
    this.broker = broker
    this.onError = onError
  }

  async connect(): Promise<void> {}

  /** Another listener of the same channel is one more. */
  async subscribe(channel: string, listener: Listener): Promise<void> {
    const known = this.channels.get(channel)
    const opened = known ?? new Channel(this.broker, channelTopic(channel), this.onError)
    if (known === undefined) this.channels.set(channel, opened)
    opened.listeners.push(listener)
    try {
      await opened.listening
    } catch (error) {
      if (this.channels.get(channel) === opened) this.channels.delete(channel)
      throw error
    }
  }

  /** All listeners of the channel. */
  async unsubscribe(channel: string): Promise<void> {
    const opened = this.channels.get(channel)
    this.channels.delete(channel)
    await opened?.close()
  }
}

class Channel {
  readonly listeners: Listener[] = []
  /** Resolves when it knows where it begins to listen. */
  readonly listening: Promise<void>
  private readonly onError: (error: unknown) => void
  private readonly open: () => Promise<Session>
  private session: Session | null = null
  private closed = false

  constructor(broker: Broker, topic: string, onError: (error: unknown) => void) {
    this.onError = onError
    this.open = () => broker.session(topic, CHANNEL)
    this.listening = this.open().then((session) => {
      void this.listen(session)
    })
  }

  async close(): Promise<void> {
    this.closed = true
    this.listeners.length = 0
    await this.listening.catch(() => {})
    await this.session?.close()
  }

  /** Until it is closed: where the topic comes to an end, by its policy or because somebody deleted it, there is another one. */
  private async listen(first: Session): Promise<void> {
    try {
      for (let session = first; ; session = await this.open()) {
        this.session = session
        if (this.closed) return await session.close()
        await this.read(session)
      }
    } catch (error) {
      if (!this.closed && !isLitetopicError(error, 'CONNECTION_CLOSED')) this.onError(error)
    }
  }

  /** Returns when there is nothing to read on. */
  private async read(session: Session): Promise<void> {
    try {
      // What was there before it was opened is for others.
      for await (const record of session.records({ from: session.cursor })) await this.deliver(record)
    } catch (error) {
      if (!isLitetopicError(error, 'GONE', 'RECREATED', 'TRIMMED', 'DIVERGED')) throw error
    }
    session.close().catch(() => {})
  }

  private async deliver(record: SessionRecord): Promise<void> {
    if (record.kind !== 'message') return
    const message = String(record.large ? await record.large.json() : record.value)
    for (const listener of [...this.listeners]) {
      try {
        // As with Redis, nobody waits for it.
        Promise.resolve(listener(message)).catch(this.onError)
      } catch (error) {
        this.onError(error)
      }
    }
  }
}

function throwLater(error: unknown): void {
  queueMicrotask(() => {
    throw error
  })
}
