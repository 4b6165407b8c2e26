/**
 * What requests and answers of the Durable Streams protocol look like, for /openapi.json. The headers are checked where they are
 * read, in the protocol's own words: here they are text.
 */

import { LIMITS } from '../../../protocol/index.ts'

const text = (description: string): object => ({ type: 'string', description })
const fields = (properties: Readonly<Record<string, string>>): object => ({
  type: 'object',
  properties: Object.fromEntries(Object.entries(properties).map(([name, about]) => [name, text(about)])),
})
const described = (headers: Readonly<Record<string, string>>): object =>
  Object.fromEntries(
    Object.entries(headers).map(([name, description]) => [name, { description, schema: { type: 'string' } }]),
  )

const CLOSED = '`true` if the stream is closed, and ends there.'
const NEXT = { 'stream-next-offset': 'The offset to read on at.', 'stream-closed': CLOSED }
const PAGE = { ...NEXT, 'stream-up-to-date': '`true` if there is no more for now.', etag: 'Of what was read.' }
const NUMBERED = {
  'producer-epoch': 'Of the producer.',
  'producer-seq': 'The newest sequence of the producer.',
}
const CLOSE = '`true` closes the stream behind it.'
const ANY_TYPE = { '*/*': { schema: {} } }
const tags = ['durable streams']
/** Of what comes by its name. */
const NAMED = ['NOT_FOUND', 'GONE'] as const

export const PUT_STREAM = {
  operationId: 'createStream',
  summary: 'Create a Durable Streams stream, or make sure of it',
  tags,
  headers: fields({
    'content-type': 'Of the stream. Default: application/octet-stream; of a fork, that of its source.',
    'stream-ttl': 'Seconds that it lives after it was last read or written.',
    'stream-expires-at': 'When it ends, as RFC 3339 has times.',
    'stream-closed': CLOSE,
    'stream-forked-from': 'Path of the stream that it goes on from.',
    'stream-fork-offset': 'Where; by default at its end.',
    'stream-fork-sub-offset': 'So many messages (JSON) or bytes of a message further.',
  }),
  response: {
    200: { type: 'null', description: 'It was there, as it is wanted.', headers: described(NEXT) },
    201: {
      type: 'null',
      description: 'Created, with its body.',
      headers: described({ ...NEXT, location: 'Its URL.' }),
    },
  },
  errors: [...NAMED, 'TOPIC_EXISTS', 'CONTENT_TYPE_MISMATCH', 'BAD_VALUE', 'BAD_CURSOR', 'TRIMMED'],
} as const

export const POST_STREAM = {
  operationId: 'appendToStream',
  summary: 'Append to a Durable Streams stream, close it, or both',
  tags,
  headers: fields({
    'content-type': 'That of the stream.',
    'stream-closed': CLOSE,
    'stream-seq': 'Greater than that of any append before, byte by byte.',
    'producer-id': 'Who writes, if it is to be stored once; with the two below.',
    'producer-epoch': 'From 0 on; a greater one replaces it.',
    'producer-seq': 'From 0 on, one by one.',
  }),
  response: {
    200: { type: 'null', description: 'Stored, for a producer.', headers: described({ ...NEXT, ...NUMBERED }) },
    204: {
      type: 'null',
      description: 'Stored or closed; for a producer, that it was before.',
      headers: described({ ...NEXT, ...NUMBERED }),
    },
  },
  errors: [
    ...NAMED,
    'CLOSED',
    'CONTENT_TYPE_MISMATCH',
    'STREAM_SEQ_STALE',
    'SEQUENCE_GAP',
    'PRODUCER_UNKNOWN',
    'PRODUCER_STALE',
    'PRODUCER_LIMIT',
    'FENCED',
    'BAD_VALUE',
  ],
  refusals: [403, 408, 415],
} as const

export const GET_STREAM = {
  operationId: 'readStream',
  summary: 'Read a Durable Streams stream',
  tags,
  querystring: fields({
    offset: '`-1` for the beginning (the default), `now`, or one that was received.',
    live: `\`long-poll\` waits for more for ${LIMITS.longPollMs} ms, \`sse\` is answered with an event stream.`,
    cursor: 'That of the live read before, for caches.',
  }),
  headers: fields({ 'if-none-match': 'Is answered with 304 if there is nothing else to read.' }),
  response: {
    200: { description: 'Data, in the content type of the stream.', headers: described(PAGE), content: ANY_TYPE },
    204: { type: 'null', description: 'Nothing came while a long poll waited.', headers: described(PAGE) },
    304: { type: 'null', description: 'It is what If-None-Match names.' },
  },
  errors: [...NAMED, 'RECREATED', 'TRIMMED', 'BAD_CURSOR'],
} as const

export const HEAD_STREAM = {
  operationId: 'headStream',
  summary: 'Look at a Durable Streams stream',
  tags,
  response: {
    200: {
      type: 'null',
      description: 'It is there.',
      headers: described({ ...NEXT, 'stream-ttl': 'As it was created.', 'stream-expires-at': 'As it was created.' }),
    },
  },
  errors: NAMED,
} as const

export const DELETE_STREAM = {
  operationId: 'deleteStream',
  summary: 'Delete a Durable Streams stream',
  tags,
  response: { 204: { type: 'null', description: 'Deleted.' } },
  errors: NAMED,
} as const
