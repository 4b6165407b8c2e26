/** What requests and answers of Durable Streams subscriptions look like, by which they are checked and described. */

import { ERRORS, type ErrorCode, LIMITS } from '../../../protocol/index.ts'
import { COMMON } from '../openapi.ts'
import { STATUS } from '../problem.ts'

const TEXT = { type: 'string' }
const TEXT_OR_NULL = { type: ['string', 'null'] }
const STREAMS = { type: 'array', items: TEXT }
const LEASE = `how long a worker may be silent: ${LIMITS.wakeLeaseMinMs} to ${LIMITS.wakeLeaseMaxMs}, by default ${LIMITS.wakeLeaseMs}`

const object = (properties: object, required: readonly string[] = Object.keys(properties)): object => ({
  type: 'object',
  required,
  properties,
})

export const SUBSCRIPTION_REQUEST = object(
  {
    type: { type: 'string', enum: ['webhook', 'pull-wake'] },
    pattern: { ...TEXT_OR_NULL, description: 'of paths of streams: * is one segment, ** any number' },
    streams: { type: ['array', 'null'], items: TEXT, description: 'paths of streams' },
    webhook: { type: ['object', 'null'], required: ['url'], properties: { url: TEXT } },
    wake_stream: { ...TEXT_OR_NULL, description: 'of pull-wake: the stream that wakes are written to' },
    lease_ttl_ms: { type: ['integer', 'null'], description: LEASE },
    description: TEXT_OR_NULL,
  },
  ['type'],
)

export const STREAMS_REQUEST = object({ streams: STREAMS })

export const CLAIM_REQUEST = object({ worker: { type: 'string', minLength: 1 } })

const ACK = {
  ...object({ stream: TEXT, path: { ...TEXT, description: 'the same as stream' }, offset: TEXT }, ['offset']),
  anyOf: [{ required: ['stream'] }, { required: ['path'] }],
}

const WAKE = { wake_id: TEXT, generation: { type: 'integer' } }

export const RELEASE_REQUEST = object(WAKE)

export const REPORT_REQUEST = object(
  {
    ...WAKE,
    acks: { type: 'array', items: ACK },
    done: { type: 'boolean', description: 'the wake is over; else its lease begins anew' },
  },
  ['wake_id', 'generation'],
)

const LINK = { path: TEXT, link_type: { type: 'string', enum: ['glob', 'explicit'] }, acked_offset: TEXT }
const SIGNING = object({ alg: TEXT, kid: TEXT, jwks_url: TEXT })

export const SUBSCRIPTION = object({
  id: TEXT,
  subscription_id: TEXT,
  type: { type: 'string', enum: ['webhook', 'pull-wake'] },
  pattern: TEXT_OR_NULL,
  streams: { type: 'array', items: object(LINK) },
  webhook: { type: ['object', 'null'], properties: { url: TEXT, signing: SIGNING } },
  wake_stream: TEXT_OR_NULL,
  lease_ttl_ms: { type: 'integer' },
  created_at: TEXT,
  status: { type: 'string', enum: ['active', 'failed'] },
  description: TEXT_OR_NULL,
})

export const CLAIM = object({
  ...WAKE,
  token: TEXT,
  streams: { type: 'array', items: object({ ...LINK, tail_offset: TEXT, has_pending: { type: 'boolean' } }) },
  lease_ttl_ms: { type: 'integer' },
})

export const REPORTED = object({ ok: { type: 'boolean' }, next_wake: { type: 'boolean' } })

export const NOTHING = { type: 'null', description: 'Done' }

export const KEYS = {
  description: 'The keys that webhooks are signed with',
  content: {
    'application/jwk-set+json': { schema: object({ keys: { type: 'array', items: { type: 'object' } } }) },
  },
}

/** The answers of a route: those that say yes by status, and those that say no by code. */
export function answers(
  summary: string,
  yes: Readonly<Record<number, object>>,
  no: readonly ErrorCode[],
): { summary: string; tags: readonly string[]; errors: readonly ErrorCode[]; response: Record<string, object> } {
  const refusals: Record<string, object> = {}
  const all = [...new Set([...COMMON, ...no])]
  for (const status of new Set(all.map((code) => STATUS[code]))) {
    const codes = all.filter((code) => STATUS[code] === status)
    refusals[status] = {
      ...object({ error: { ...object({ code: TEXT, message: TEXT }), additionalProperties: true } }),
      description: codes.map((code) => `${code}: ${ERRORS[code].means}`).join('; '),
      additionalProperties: true,
    }
  }
  return { summary, tags: ['Durable Streams subscriptions'], errors: no, response: { ...refusals, ...yes } }
}
