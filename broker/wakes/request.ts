/** What a Durable Streams subscription may be asked to be, checked before anything is made of it. */

import { createHash } from 'node:crypto'
import { checkTopicName, LIMITS, LitetopicError } from '../../protocol/index.ts'
import type { WakerConfig } from '../../storage/index.ts'
import { parsePattern } from './glob.ts'

export interface WakerRequest {
  readonly type: 'webhook' | 'pull-wake'
  /** At least one of pattern and topics must say something. */
  readonly pattern?: string
  readonly topics?: readonly string[]
  /** Of a webhook. */
  readonly url?: string
  /** Where those that are pulled are told: the name of a topic. */
  readonly wakeTopic?: string
  /** Default 30 s. */
  readonly leaseMs?: number
  readonly description?: string
}

/** The same, as it is kept. */
export interface Checked {
  readonly config: WakerConfig
  readonly topics: readonly string[]
  /** Equal for equal configurations. */
  readonly hash: string
}

/** Throws BAD_REQUEST, BAD_NAME or LIMIT_EXCEEDED. Whether its webhook may be called is not asked. */
export function checkRequest(request: WakerRequest): Checked {
  const { type, leaseMs = LIMITS.wakeLeaseMs } = request
  const pattern = request.pattern === undefined ? null : parsePattern(request.pattern).join('/')
  const topics = [...new Set((request.topics ?? []).map(bareName))].sort()
  if (pattern === null && topics.length === 0) throw bad('name a pattern, or at least one stream')
  if (!Number.isInteger(leaseMs) || leaseMs < LIMITS.wakeLeaseMinMs || leaseMs > LIMITS.wakeLeaseMaxMs) {
    throw bad(`a lease is from ${LIMITS.wakeLeaseMinMs} to ${LIMITS.wakeLeaseMaxMs} ms`)
  }
  const url = type === 'webhook' ? required(request.url, 'webhook.url') : null
  const wakeTopic = type === 'pull-wake' ? bareName(required(request.wakeTopic, 'wake_stream')) : null
  if (wakeTopic !== null && topics.includes(wakeTopic))
    throw bad('a wake stream cannot be one of the streams it tells of')
  checkText(url ?? '', 'webhookUrlBytes', LIMITS.webhookUrlBytes)
  const description = request.description === undefined ? null : checkText(request.description, 'wakerTextBytes')
  const config: WakerConfig = { type, pattern, url, wakeTopic, leaseMs, description }
  const hash = createHash('sha256')
    .update(JSON.stringify([config, topics]))
    .digest('hex')
  return { config, topics, hash }
}

/** A topic's name, with or without slashes around it. Throws BAD_NAME. */
export function bareName(text: string): string {
  return checkTopicName(text.replace(/^\/+|\/+$/g, ''))
}

/** Returns the text. Throws LIMIT_EXCEEDED. */
export function checkText(text: string, limit = 'wakerTextBytes', bound: number = LIMITS.wakerTextBytes): string {
  const value = Buffer.byteLength(text)
  if (value <= bound) return text
  throw new LitetopicError('LIMIT_EXCEEDED', `a text of ${value} bytes, where at most ${bound} are taken`, {
    limit,
    value,
    bound,
  })
}

/** Throws LIMIT_EXCEEDED if the value is beyond the bound. */
export function checkBound(limit: 'wakers' | 'wakerTopics' | 'wakerLinks', value: number): void {
  const bound = LIMITS[limit]
  if (value <= bound) return
  const what = limit === 'wakers' ? 'subscriptions' : 'streams of subscriptions'
  throw new LitetopicError('LIMIT_EXCEEDED', `${value} ${what}, where at most ${bound} are kept (${limit})`, {
    limit,
    value,
    bound,
  })
}

function required(value: string | undefined, field: string): string {
  if (value !== undefined && value !== '') return value
  throw bad(`it needs a ${field}`)
}

function bad(why: string): LitetopicError {
  return new LitetopicError('BAD_REQUEST', `this is no subscription: ${why}`)
}
