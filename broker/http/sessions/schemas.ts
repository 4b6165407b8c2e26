/**
 * The shapes of the sessions API as JSON Schema: requests are checked by them, /openapi.json is made of them, and a test checks every
 * answer by them. See HTTP.md for what they mean.
 */

import { type ErrorCode, LIMITS } from '../../../protocol/index.ts'
import type { Schema } from '../check.ts'
import { JSON_TYPE, LINES_TYPE, RECORDS_TYPE, TEXT_TYPE } from './body.ts'

const describedAs = (schema: Schema, description: string): Schema => ({ ...schema, description })
const UINT = { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER }
const TEXT = { type: 'string' }
const FLAG = { type: 'boolean' }
const NAME = { type: 'string', minLength: 1, maxLength: LIMITS.nameBytes }
const CURSOR = { type: 'string', maxLength: 64 }
const nullable = (schema: Schema): Schema => ({ anyOf: [schema, { type: 'null' }] })

/** An object of exactly these fields; those that end with `?` may be left out. */
export function object(fields: Readonly<Record<string, Schema>>, more: Schema = {}): Schema {
  const entries = Object.entries(fields).map(([name, schema]) => [name.replace(/\?$/, ''), schema] as const)
  return {
    type: 'object',
    properties: Object.fromEntries(entries),
    required: Object.keys(fields).filter((name) => !name.endsWith('?')),
    additionalProperties: false,
    ...more,
  }
}

/** A query of these parameters, each of which may be left out unless it is among the required. */
export function parameters(parameters: Readonly<Record<string, Schema>>, required: readonly string[] = []): Schema {
  return { type: 'object', properties: parameters, required, additionalProperties: false }
}

const EPOCH = describedAs(UINT, 'The incarnation meant: none is GONE, another one RECREATED.')
const LIMIT = { ...UINT, minimum: 1, maximum: LIMITS.pageItems, description: 'Items of a page. Default 100.' }

/** Parameters of whatever is about one topic. */
export const MEANT = { epoch: EPOCH }

/** Parameters of whatever appends. */
export const WRITING = {
  ...MEANT,
  create: describedAs(FLAG, 'May the topic be created? Default true.'),
  topicFence: describedAs(UINT, 'Fence of the topic that an exclusive session writes under.'),
}

/** The same of what never creates a topic. */
export const CHANGING = { ...MEANT, topicFence: WRITING.topicFence }

export const ENDING = { enum: ['done', 'failed'], description: 'The stream ends so behind the tokens.' }

/** Options of an attachment. */
export const ATTACHING = {
  ...CHANGING,
  create: describedAs(FLAG, 'May the topic be created? Default false.'),
  cursor: describedAs(CURSOR, 'Stands behind all that the client was told is stored.'),
  observe: describedAs(FLAG, 'Does not hold the topic.'),
  exclusive: describedAs(FLAG, "Takes the topic's fence."),
}

export const CLOSE = describedAs(FLAG, 'The topic takes no more records behind these.')

export const NAMED = {
  id: describedAs(NAME, 'Record id: stored once per topic.'),
  trace: describedAs(NAME, 'W3C traceparent.'),
}

export const PLACES = {
  from: { enum: ['start', 'live'], description: 'The first record kept (the default), or the next one.' },
  cursor: describedAs(CURSOR, 'The record that the cursor stands before.'),
  offset: describedAs(UINT, 'That record.'),
  last: describedAs(UINT, 'So many records before the end.'),
  timeMs: describedAs(UINT, 'The first record at or after that time, in ms since 1970.'),
  checkpoint: { type: 'string', maxLength: LIMITS.nameBytes, description: 'Behind it; empty: behind the latest.' },
}

export const STREAM = { stream: describedAs(NAME, 'Id of the stream.'), part: describedAs(NAME, 'Part of the stream.') }
export const LEASE = {
  type: 'integer',
  minimum: LIMITS.leaseMinMs,
  maximum: LIMITS.leaseMaxMs,
  description: 'For how long the stream is live behind this and each further append. Default: as before, or 60,000.',
}
export const FENCE = describedAs(UINT, 'Fence of the stream, from the answer to opening it.')
export const PAGE = { after: describedAs(NAME, 'Last name of the page before.'), limit: LIMIT }
export const FLAGS = {
  raw: describedAs(FLAG, 'Every token by itself. Default: runs.'),
  pieces: describedAs(FLAG, 'The pieces of each entry in place of its value.'),
}
export const NUMBER = UINT
export const LIMIT_OF_RECORDS = { ...UINT, minimum: 1, description: 'Offsets that are covered at most.' }
export const PREFIX = { type: 'string', maxLength: LIMITS.nameBytes + 1, description: 'Whole segments. Default: all.' }
export const OF_PAGE = LIMIT
export const ENTRY = describedAs(NAME, 'Name of the entry.')
export const AS_OF = describedAs(UINT, 'Records before this offset count. Default: all.')
export const BEFORE = describedAs(UINT, 'Those before this offset. Default: all.')
export const CHECKPOINT_NAME = describedAs(NAME, 'Name of the checkpoint.')

const NUMBER_TEXT = { type: 'string', pattern: '^[0-9]{1,16}$' }

const PRODUCER_HEADER = { type: 'string', minLength: 1, maxLength: 64, description: 'See PROTOCOL.md, Sequences.' }

/** The producer alone. */
export const PRODUCER_ID = { type: 'object', properties: { 'producer-id': PRODUCER_HEADER } }

/** Headers of whatever takes a number of a producer's sequence. */
export const PRODUCER = {
  type: 'object',
  properties: {
    'producer-id': PRODUCER_HEADER,
    'producer-epoch': describedAs(NUMBER_TEXT, 'With Producer-Id.'),
    'producer-seq': describedAs(NUMBER_TEXT, 'With Producer-Id.'),
  },
}

/** Headers that make a request conditional. */
export const CONDITIONS = {
  type: 'object',
  properties: {
    'if-match': describedAs(TEXT, 'Entity tags, one of which the session must have.'),
    'if-none-match': describedAs(TEXT, 'Entity tags, none of which the session may have.'),
  },
}

export const LINGER = { anyOf: [UINT, { const: 'forever' }] }
const BOUND = nullable({ ...UINT, minimum: 1 })

/** What may be set of a policy, and what there is of it. */
export const POLICY = object({
  'lingerMs?': LINGER,
  'maxBytes?': BOUND,
  'maxRecords?': BOUND,
  'maxAgeMs?': BOUND,
  'ttlMs?': BOUND,
  'expiresAtMs?': BOUND,
})

const DATA_FIELDS = { 'json?': {}, 'text?': TEXT, 'base64?': { type: 'string', contentEncoding: 'base64' } }
const STATES = ['open', 'resumed', 'lost', 'done', 'stopped', 'failed']

export const STREAM_INFO = object({
  streamId: NAME,
  state: { enum: STATES },
  live: FLAG,
  openOffset: UINT,
  fence: UINT,
  lastOffset: UINT,
  detail: {},
})

const SUMMARY = {
  name: NAME,
  epoch: UINT,
  firstOffset: UINT,
  nextOffset: UINT,
  bytes: UINT,
  createdMs: UINT,
  lastAppendMs: UINT,
  lingerMs: LINGER,
  hold: { enum: ['attached', 'lingering', 'kept'] },
  residency: { enum: ['resident', 'dormant'] },
}

/** What a broker adds to it later is no error of its clients. */
const OPEN = { additionalProperties: true }

export const SESSION = object(
  {
    ...SUMMARY,
    cursor: CURSOR,
    attachments: UINT,
    streams: { type: 'array', items: STREAM_INFO },
    checkpoints: UINT,
    contextEntries: UINT,
    closed: FLAG,
    exclusive: FLAG,
    reclaimAtMs: nullable(UINT),
    policy: { ...POLICY, ...OPEN },
  },
  OPEN,
)

export const SESSIONS = object({ sessions: { type: 'array', items: object(SUMMARY, OPEN) }, more: FLAG })

/** A record that is posted. */
const NEW_RECORD = object({
  'kind?': { enum: ['message', 'context', 'checkpoint'], description: 'Default: message.' },
  'id?': NAME,
  'trace?': NAME,
  'name?': NAME,
  'op?': { enum: ['set', 'append', 'delete'] },
  ...DATA_FIELDS,
})

/** A record that is read, or a run of tokens. */
const RECORD = object(
  {
    offset: UINT,
    timeMs: UINT,
    kind: { enum: ['message', 'token', 'context', 'checkpoint', 'stream'] },
    'lastOffset?': UINT,
    'tokens?': UINT,
    'id?': NAME,
    'trace?': NAME,
    'name?': NAME,
    'op?': { enum: ['set', 'append', 'delete'] },
    'streamId?': NAME,
    'part?': NAME,
    'state?': { enum: STATES },
    'principal?': TEXT,
    'large?': object({ tag: { enum: ['text', 'json', 'bytes'] }, size: UINT, sha256: TEXT, uploadId: NAME }),
    ...DATA_FIELDS,
  },
  OPEN,
)

export const RECORDS = object({
  epoch: UINT,
  firstOffset: UINT,
  nextOffset: UINT,
  cursor: CURSOR,
  more: FLAG,
  records: { type: 'array', items: RECORD },
})

export const APPENDED = object({
  epoch: UINT,
  offset: nullable(UINT),
  count: UINT,
  cursor: CURSOR,
  repeat: FLAG,
})

const CHECKPOINT = object({ name: NAME, offset: UINT, cursor: CURSOR, timeMs: UINT, ...DATA_FIELDS })
export const CHECKPOINTS = object({ checkpoints: { type: 'array', items: CHECKPOINT }, more: FLAG })

const PIECE = object(DATA_FIELDS)
const CONTEXT_ENTRY = object({
  name: NAME,
  offset: UINT,
  'pieces?': { type: 'array', items: PIECE },
  ...DATA_FIELDS,
})
/** One entry, or a page of them. */
export const CONTEXT = {
  anyOf: [object({ entries: { type: 'array', items: CONTEXT_ENTRY }, more: FLAG }), CONTEXT_ENTRY],
}

const TEXTS = { type: 'object', additionalProperties: TEXT, description: 'Text by part.' }

export const RESUMED = object({
  outcome: { enum: ['continued', 'trimmed', 'recreated', 'gone', 'diverged'] },
  firstOffset: UINT,
  nextOffset: UINT,
  cursor: nullable(CURSOR),
  'commonOffset?': nullable(UINT),
  'partial?': FLAG,
  'checkpoint?': CHECKPOINT,
  'context?': { type: 'array', items: CONTEXT_ENTRY },
  'streams?': { type: 'array', items: object({ stream: STREAM_INFO, text: TEXTS }) },
})

/** Those open, or one. */
export const STREAMS = { anyOf: [object({ streams: { type: 'array', items: STREAM_INFO } }), STREAM_INFO] }
export const STOPPED = object({ streams: { type: 'array', items: STREAM_INFO } })

export const OPEN_STREAM = object({
  streamId: NAME,
  'mode?': { enum: ['create', 'continue', 'join'], description: 'Default: join.' },
  'leaseMs?': LEASE,
})

export const OPENED = object({
  epoch: UINT,
  fence: nullable(UINT),
  offset: nullable(UINT),
  stream: STREAM_INFO,
  text: nullable(TEXTS),
})

export const END = object({ streamId: NAME, fence: UINT, state: { enum: ['done', 'failed'] }, 'detail?': {} })
export const STOP = object({ 'streamId?': NAME, 'reason?': { type: 'string', maxLength: LIMITS.stringBytes } })
export const TRIM = object({ 'before?': UINT, 'checkpoint?': NAME })
export const TRIMMED = object({ firstOffset: UINT })

export const FORK = object({
  as: describedAs(NAME, 'Name of the fork.'),
  'at?': object(
    { 'cursor?': CURSOR, 'offset?': UINT, 'checkpoint?': nullable(NAME) },
    { description: 'The first record that it does not share, by one of the three. Default: the end.' },
  ),
  'policy?': POLICY,
})
export const CLOSED = object({ epoch: UINT, nextOffset: UINT, cursor: CURSOR })
export const BROKER = object({ server: TEXT, version: UINT, incarnation: TEXT, timeMs: UINT })

export const TOKEN_REQUEST = object({
  topic: { type: 'string', maxLength: LIMITS.nameBytes, description: 'A session, or a prefix of whole segments.' },
  can: { type: 'array', items: { enum: ['read', 'write', 'stop', 'manage'] }, minItems: 1, maxItems: 4 },
  'forMs?': describedAs(UINT, 'Default 1 hour.'),
  'as?': describedAs(NAME, 'Who has it, which its records carry. Default: token.'),
})
export const TOKEN_ISSUED = object({ token: TEXT, principal: TEXT, expiresAtMs: UINT })

/** A body that may be left out. */
export const optional = (schema: Schema): Schema => nullable(schema)

const BINARY = { type: 'string', contentMediaType: 'application/octet-stream' }
const list = (items: Schema): Schema => ({ type: 'array', items, maxItems: LIMITS.appendRecords })
const TOKEN = { anyOf: [TEXT, object({ 'part?': NAME, ...DATA_FIELDS })] }
const ANY_DATA = { [JSON_TYPE]: {}, 'text/*': TEXT, '*/*': BINARY }

/** An event stream. */
export const EVENTS = { 'text/event-stream': { schema: TEXT } }

/** Bodies that are not JSON alone, by type. They are read by the routes themselves. */
export const BODIES = {
  records: {
    [JSON_TYPE]: { anyOf: [NEW_RECORD, list(NEW_RECORD)] },
    [LINES_TYPE]: TEXT,
    [RECORDS_TYPE]: BINARY,
    '*/*': BINARY,
  },
  tokens: { [JSON_TYPE]: list(TOKEN), [LINES_TYPE]: TEXT, [TEXT_TYPE]: TEXT, [RECORDS_TYPE]: BINARY },
  data: ANY_DATA,
} as const satisfies Record<string, Readonly<Record<string, Schema>>>

/** Codes of whatever attaches to a topic that there is. */
export const TOPIC_ERRORS: readonly ErrorCode[] = ['NOT_FOUND', 'GONE', 'RECREATED']

/** Codes of whatever takes a number of a producer's sequence. */
export const WRITE_ERRORS: readonly ErrorCode[] = [
  ...TOPIC_ERRORS,
  'BAD_VALUE',
  'CLOSED',
  'FENCED',
  'SEQUENCE_GAP',
  'PRODUCER_UNKNOWN',
  'PRODUCER_STALE',
  'PRODUCER_LIMIT',
]

/** Codes of whatever is read from a place on. */
export const PLACE_ERRORS: readonly ErrorCode[] = [
  ...TOPIC_ERRORS,
  'TRIMMED',
  'DIVERGED',
  'BAD_CURSOR',
  'OFFSET_BEYOND_END',
  'CHECKPOINT_UNKNOWN',
]

/** Headers of an answer, by name. */
export function headersOf(descriptions: Readonly<Record<string, string>>): Schema {
  const entries = Object.entries(descriptions)
  return Object.fromEntries(entries.map(([name, description]) => [name, { description, schema: { type: 'string' } }]))
}

/** Answers to what appends. */
export const APPEND_ANSWERS = {
  201: {
    ...APPENDED,
    description: 'Stored.',
    headers: headersOf({ location: 'Where it is read.' }),
  },
  200: { ...APPENDED, description: 'It was stored before.' },
}
