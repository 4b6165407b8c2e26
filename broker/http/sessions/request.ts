/** What the routes of sessions take from a request beside its body: which topic is meant, who writes, and under what numbers. */

import {
  type AttachOptions,
  checkId,
  type FromInfo,
  isLitetopicError,
  LitetopicError,
} from '../../../protocol/index.ts'
import type { AttachReply, AttachRequest } from '../../attach.ts'
import { missing } from '../../outcomes.ts'
import type { Caller } from '../caller.ts'
import type { Request } from '../fastify.ts'

/** Of one producer's operations; see PROTOCOL.md, Sequences. */
export interface Numbered {
  readonly producer: string
  readonly producerEpoch: number
  readonly sequence: number
}

/** The parameters of all routes, each checked by its route's schema. */
export interface Query {
  readonly prefix?: string
  readonly after?: string
  readonly limit?: number
  readonly epoch?: number
  readonly create?: boolean
  readonly topicFence?: number
  readonly id?: string
  readonly trace?: string
  readonly from?: 'start' | 'live'
  readonly cursor?: string
  readonly offset?: number
  readonly last?: number
  readonly timeMs?: number
  readonly checkpoint?: string
  readonly raw?: boolean
  readonly stream?: string
  readonly part?: string
  readonly fence?: number
  readonly leaseMs?: number
  readonly end?: 'done' | 'failed'
  readonly entry?: string
  readonly asOf?: number
  readonly pieces?: boolean
  readonly before?: number
  readonly close?: boolean
  readonly observe?: boolean
  readonly exclusive?: boolean
}

/** Longest id of a producer, in bytes. */
const PRODUCER_BYTES = 64

const PRODUCER_HEADERS = ['producer-id', 'producer-epoch', 'producer-seq'] as const

export function queryOf(request: Request): Query {
  return request.query as Query
}

/** A query as text, for a link to the next page. */
export function queryText(query: Query): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined)
  return new URLSearchParams(given.map(([name, value]) => [name, String(value)] as [string, string])).toString()
}

/** The producer and its numbers, null if the request names none. Throws BAD_REQUEST or BAD_NAME. */
export function numberedOf({ headers }: Request): Numbered | null {
  const [producer, epoch, sequence] = PRODUCER_HEADERS.map((name) => headers[name])
  if (producer === undefined && epoch === undefined && sequence === undefined) return null
  if (typeof producer !== 'string' || typeof epoch !== 'string' || typeof sequence !== 'string') {
    throw new LitetopicError('BAD_REQUEST', 'Producer-Id, Producer-Epoch and Producer-Seq come together, or not at all')
  }
  return {
    producer: checkProducer(producer),
    producerEpoch: uint(epoch, 'Producer-Epoch'),
    sequence: uint(sequence, 'Producer-Seq'),
  }
}

/** The id of the producer alone, where nothing is numbered. Throws BAD_NAME. */
export function producerOf({ headers }: Request): string | undefined {
  const producer = headers['producer-id']
  return typeof producer === 'string' ? checkProducer(producer) : undefined
}

/** How a request that changes a topic attaches to it. A producer that is not at its beginning knows the topic, and creates none. */
export function writingOf(query: Query, numbered: Numbered | null): AttachOptions & { readonly anonymous: boolean } {
  const mayCreate = query.create ?? true
  return {
    ...meantBy(query),
    create: mayCreate && (numbered === null || numbered.sequence === 0),
    fence: query.topicFence,
    producer: numbered?.producer,
    anonymous: numbered === null,
  }
}

/** How one that only looks attaches. */
export function lookingOf(query: Query): AttachOptions {
  return { ...meantBy(query), create: false }
}

/** Attaches to look. Rejects with GONE in place of NOT_FOUND for a reader whose cursor knows a topic that there was. */
export async function attachToLook(
  caller: Caller,
  name: string,
  query: Query,
  options: AttachRequest = {},
): Promise<AttachReply> {
  try {
    return await caller.attach(name, { ...lookingOf(query), ...options })
  } catch (error) {
    throw query.cursor !== undefined && isLitetopicError(error, 'NOT_FOUND') ? missing(name, true) : error
  }
}

/** Which incarnation is meant. */
export function meantBy({ epoch }: Query): { epoch?: number } {
  return epoch === undefined ? {} : { epoch }
}

/** Where to begin to read, null if the query does not say. Throws BAD_REQUEST if it says it twice. */
export function fromOf(query: Query): FromInfo | null {
  const { from, cursor, offset, last, timeMs, checkpoint } = query
  const places: FromInfo[] = []
  if (from !== undefined) places.push(from === 'live' ? { live: true } : { start: true })
  if (cursor !== undefined) places.push({ cursor })
  if (offset !== undefined) places.push({ offset })
  if (last !== undefined) places.push({ last })
  if (timeMs !== undefined) places.push({ timeMs })
  if (checkpoint !== undefined)
    places.push({ checkpoint: checkpoint === '' ? null : checkId(checkpoint, 'checkpoint') })
  if (places.length > 1) {
    throw new LitetopicError(
      'BAD_REQUEST',
      'say with one of from, cursor, offset, last, timeMs and checkpoint where to begin',
    )
  }
  return places[0] ?? null
}

function uint(text: string, name: string): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if (Number.isSafeInteger(value)) return value
  throw new LitetopicError(
    'BAD_REQUEST',
    `${name} is a whole number from 0 on, not ${JSON.stringify(text.slice(0, 40))}`,
  )
}

function checkProducer(producer: string): string {
  if (Buffer.byteLength(producer) > PRODUCER_BYTES) {
    throw new LitetopicError('BAD_NAME', `a Producer-Id has at most ${PRODUCER_BYTES} bytes`)
  }
  return checkId(producer, 'producer id')
}
