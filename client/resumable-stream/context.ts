/** `createResumableStreamContext` as resumable-stream has it, with litetopic where that has Redis. */

import {
  type CreateResumableStreamContextOptions,
  createResumableStreamContext as createContext,
  type Publisher,
  type ResumableStreamContext,
  type Subscriber,
} from 'resumable-stream/generic'
import { type Broker, connect, LitetopicError } from '../index.ts'
import { createPublisher } from './publisher.ts'
import { createSubscriber } from './subscriber.ts'

export interface ContextOptions extends CreateResumableStreamContextOptions {
  /** The broker, for example with a token. Default: the one at `url`. */
  readonly broker?: Broker
  /** Address of the broker. Default: the environment variable LITETOPIC_URL. */
  readonly url?: string
}

interface PubSub {
  readonly publisher: Publisher
  readonly subscriber: Subscriber
}

/** Contexts are often made for each request; those of one address share a connection. */
const byUrl = new Map<string, PubSub>()
const byBroker = new WeakMap<Broker, PubSub>()

/**
 * The same as that of `resumable-stream`, which it calls. A `publisher` or `subscriber` given counts. Throws BAD_REQUEST if no broker is
 * named, or for an address that is none.
 */
export function createResumableStreamContext(options: ContextOptions): ResumableStreamContext {
  const { broker, url, ...others } = options
  if (options.publisher !== undefined && options.subscriber !== undefined) return createContext(others)
  return createContext({ ...(broker === undefined ? atUrl(url ?? configuredUrl()) : on(broker)), ...given(others) })
}

/** What is undefined would hide the default. */
function given(options: CreateResumableStreamContextOptions): CreateResumableStreamContextOptions {
  const { publisher, subscriber, ...others } = options
  return { ...others, ...(publisher && { publisher }), ...(subscriber && { subscriber }) }
}

function on(broker: Broker): PubSub {
  const pubSub = byBroker.get(broker) ?? { publisher: createPublisher(broker), subscriber: createSubscriber(broker) }
  byBroker.set(broker, pubSub)
  return pubSub
}

function atUrl(url: string): PubSub {
  const pubSub = byUrl.get(url) ?? on(connect(url))
  byUrl.set(url, pubSub)
  return pubSub
}

function configuredUrl(): string {
  const url = typeof process === 'undefined' ? undefined : process.env.LITETOPIC_URL
  if (url !== undefined && url !== '') return url
  const advice = 'set LITETOPIC_URL, such as ws://127.0.0.1:7171, or pass url or broker'
  throw new LitetopicError('BAD_REQUEST', `no broker for resumable streams: ${advice}`)
}
