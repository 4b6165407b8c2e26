/** Durable Streams subscriptions as JSON: what is asked, and what is answered and sent. */

import { LitetopicError } from '../../../protocol/index.ts'
import type { WakerRequest } from '../../wakes/request.ts'
import type { PublicKey } from '../../wakes/secrets.ts'
import type { TopicProgress, WakeFacts, WriteWake } from '../../wakes/teller.ts'
import type { WakerInfo } from '../../wakes/wakers.ts'
import type { Acknowledged, Claim, WakeReport } from '../../wakes/waking.ts'
import { formatOffset, parseOffset } from './offsets.ts'

export const CONTROL_PATH = '/v1/stream/__ds'

export interface SubscriptionBody {
  readonly type: 'webhook' | 'pull-wake'
  readonly pattern?: string | null
  readonly streams?: readonly string[] | null
  readonly webhook?: { readonly url: string } | null
  readonly wake_stream?: string | null
  readonly lease_ttl_ms?: number | null
  readonly description?: string | null
}

export interface ReportBody {
  readonly wake_id: string
  readonly generation: number
  readonly acks?: readonly { readonly stream?: string; readonly path?: string; readonly offset: string }[]
  readonly done?: boolean
}

export function requestOf(body: SubscriptionBody): WakerRequest {
  return {
    type: body.type,
    pattern: body.pattern || undefined,
    topics: body.streams ?? undefined,
    url: body.webhook?.url,
    wakeTopic: body.wake_stream ?? undefined,
    leaseMs: body.lease_ttl_ms ?? undefined,
    description: body.description ?? undefined,
  }
}

export function reportOf(token: string, { wake_id: wakeId, generation }: ReportBody): WakeReport {
  return { token, wakeId, generation }
}

/** An offset that cannot be read is one of no stream. */
export function acksOf({ acks = [] }: ReportBody): Acknowledged[] {
  return acks.map(({ stream, path, offset }) => {
    const topic = (stream ?? path ?? '').replace(/^\/+|\/+$/g, '')
    try {
      const { next, epoch } = parseOffset(offset)
      return { topic, epoch, offset: next }
    } catch (error) {
      if (!(error instanceof LitetopicError)) throw error
      return { topic, epoch: null, offset: 0 }
    }
  })
}

export function subscriptionBody(
  { id, config, createdMs, failing, topics }: WakerInfo,
  base: string,
  { kid }: PublicKey,
): object {
  const signing = { alg: 'ed25519', kid, jwks_url: `${base}${CONTROL_PATH}/jwks.json` }
  return {
    id,
    subscription_id: id,
    type: config.type,
    pattern: config.pattern,
    streams: topics.map((topic) => {
      const { path, link_type, acked_offset } = streamBody(topic)
      return { path, link_type, acked_offset }
    }),
    webhook: config.url === null ? null : { url: config.url, signing },
    wake_stream: config.wakeTopic,
    lease_ttl_ms: config.leaseMs,
    created_at: new Date(createdMs).toISOString(),
    status: failing ? 'failed' : 'active',
    description: config.description,
  }
}

export function claimBody({ wakeId, generation, token, topics, leaseMs }: Claim): object {
  return { wake_id: wakeId, generation, token, streams: topics.map(streamBody), lease_ttl_ms: leaseMs }
}

/** What webhooks are sent; `base` is where this broker is reached. */
export const wakeWriter =
  (base: () => string): WriteWake =>
  ({ id, wakeId, generation, token, topics }: WakeFacts) =>
    JSON.stringify({
      subscription_id: id,
      wake_id: wakeId,
      generation,
      streams: topics.map(streamBody),
      callback_url: `${base()}${CONTROL_PATH}/subscriptions/${encodeURIComponent(id)}/callback`,
      callback_token: token,
    })

function streamBody({ name, explicit, epoch, acked, tail }: TopicProgress) {
  return {
    path: name,
    link_type: explicit ? 'explicit' : 'glob',
    acked_offset: formatOffset(acked, epoch),
    tail_offset: formatOffset(tail, epoch),
    has_pending: tail > acked,
  }
}
