/** Content of messages of any size, streamed both ways. See HTTP.md, Large messages. */

import { randomUUID } from 'node:crypto'
import {
  ByteWriter,
  checkId,
  type DataTag,
  formatCursor,
  NO_DATA,
  type RecordData,
  writeMessage,
} from '../../../protocol/index.ts'
import type { Caller } from '../caller.ts'
import { isNotModified } from '../etag.ts'
import type { Face } from '../face.ts'
import type { App, Reply, Request } from '../fastify.ts'
import { topicOf } from '../names.ts'
import { streamedBodies } from '../parsers.ts'
import { StatusError } from '../problem.ts'
import { dataOf, mediaTypeOf, tagOf } from '../sessions/body.ts'
import { lookingOf, numberedOf, queryOf, writingOf } from '../sessions/request.ts'
import {
  APPEND_ANSWERS,
  BODIES,
  CONDITIONS,
  headersOf,
  MEANT,
  NAMED,
  PLACES,
  PRODUCER,
  parameters,
  TOPIC_ERRORS,
  WRITE_ERRORS,
  WRITING,
} from '../sessions/schemas.ts'
import { rangeOf } from './range.ts'
import { type Received, receive } from './receive.ts'
import { type Content, contentAt, sendContent } from './send.ts'

const TYPES: Readonly<Record<DataTag, string>> = {
  text: 'text/plain; charset=utf-8',
  json: 'application/json',
  bytes: 'application/octet-stream',
}

const CONTENT = {
  'text/plain': { schema: {} },
  'application/json': { schema: {} },
  'application/octet-stream': { schema: {} },
}

const WHOLE = {
  200: {
    description: 'The content.',
    headers: headersOf({ etag: 'Its SHA-256, of a large message.', 'accept-ranges': '`bytes`' }),
    content: CONTENT,
  },
  304: { type: 'null', description: 'It is the one that If-None-Match names.' },
} as const

const READ = {
  operationId: 'readContent',
  summary: 'Content of a message, of any size, streamed',
  tags: ['records'],
  querystring: parameters({ ...MEANT, offset: PLACES.offset }, ['offset']),
  headers: {
    type: 'object',
    properties: {
      range: { type: 'string', description: 'One range of bytes; several are answered with all.' },
      'if-range': { type: 'string', description: 'The range counts only if this is the ETag.' },
      'if-none-match': CONDITIONS.properties['if-none-match'],
    },
  },
  response: {
    ...WHOLE,
    206: { description: 'The range.', headers: headersOf({ 'content-range': 'Which.' }), content: CONTENT },
  },
  errors: [...TOPIC_ERRORS, 'TRIMMED', 'OFFSET_BEYOND_END'],
  refusals: [416],
} as const

const APPEND = {
  operationId: 'appendContent',
  summary: 'Append one message of any size, streamed',
  tags: ['records'],
  querystring: parameters({ ...WRITING, ...NAMED }),
  headers: PRODUCER,
  bodies: BODIES.data,
  response: APPEND_ANSWERS,
  errors: WRITE_ERRORS,
  refusals: [408, 415],
} as const

export function contentRoutes(app: App, face: Face): void {
  streamedBodies(app)
  const url = '/v1/data/*'
  app.get(url, { schema: READ, exposeHeadRoute: false }, (request, reply) => read(face, request, reply))
  app.head(url, { schema: { ...READ, operationId: undefined, response: WHOLE } }, (request, reply) =>
    read(face, request, reply),
  )
  app.post(url, { schema: APPEND }, (request, reply) => append(face, request, reply))
}

async function append(face: Face, request: Request, reply: Reply): Promise<Reply> {
  const name = topicOf(request)
  const query = queryOf(request)
  const { id, trace } = query
  if (id !== undefined) checkId(id, 'record id')
  const numbered = numberedOf(request)
  const tag = tagOf(mediaTypeOf(request))
  const caller = face.caller(reply)
  caller.begin(name, writingOf(query, numbered))
  const received = await receive(face, caller, request.raw, { uploadId: randomUUID(), tag, id })
  const { epoch } = await caller.whenAttached()
  const { base, repeat } = await store(caller, received, tag, { id, trace }, numbered)
  const cursor = formatCursor({ incarnation: face.incarnation, epoch, next: base + 1 })
  reply.code(repeat ? 200 : 201).header('location', `/v1/data/${name}?offset=${base}`)
  return reply.send({ epoch, offset: base, count: 1, cursor, repeat })
}

/** A message of that id takes the sequence of a producer, too: the record that says so has no content. */
async function store(
  caller: Caller,
  received: Received,
  tag: DataTag,
  extras: { id: string | undefined; trace: string | undefined },
  numbered: ReturnType<typeof numberedOf>,
): Promise<{ base: number; repeat: boolean }> {
  if (received.kind === 'known' && numbered === null) return { base: received.offset, repeat: true }
  const out = new ByteWriter(1024)
  if (received.kind === 'parts') writeMessage(out, emptyOf(tag), { ...extras, parts: received.parts })
  else writeMessage(out, received.kind === 'bytes' ? dataOf(received.bytes, tag) : NO_DATA, extras)
  return caller.append(out.view(), { count: 1, ...numbered })
}

async function read(face: Face, request: Request, reply: Reply): Promise<Reply> {
  const query = queryOf(request)
  const caller = face.caller(reply)
  caller.begin(topicOf(request), { ...lookingOf(query), observe: request.method === 'HEAD' })
  const content = await contentAt(caller, query.offset as number)
  const tag = await entityTag(caller, content)
  reply.headers({ etag: tag, 'accept-ranges': 'bytes', 'cache-control': 'private, no-cache' })
  if (isNotModified(request.headers['if-none-match'], tag)) return reply.code(304).send()
  const range = request.method === 'GET' && ifRange(request, tag) ? rangeOf(request.headers.range, content.size) : null
  if (range === 'unsatisfiable') {
    reply.header('content-range', `bytes */${content.size}`)
    const details = { size: content.size }
    throw new StatusError(416, 'BAD_REQUEST', `the message has ${content.size} bytes: ask for some of them`, details)
  }
  const { from, to } = range ?? { from: 0, to: content.size }
  reply
    .code(range === null ? 200 : 206)
    .type(TYPES[content.tag])
    .header('content-length', to - from)
  if (range !== null) reply.header('content-range', `bytes ${from}-${to - 1}/${content.size}`)
  if (request.method === 'HEAD') return reply.send()
  reply.hijack()
  reply.raw.writeHead(reply.statusCode, reply.getHeaders() as Record<string, string>)
  await sendContent(caller, reply.raw, content, { from, to })
  return reply
}

/** Of a large message its hash; of any other where it is: a record never changes. */
async function entityTag(caller: Caller, { parts, offset }: Content): Promise<string> {
  if (parts !== null) return `"${Buffer.from(parts.sha256).toString('hex')}"`
  const { epoch } = await caller.whenAttached()
  return `"${epoch}-${offset}"`
}

/** Does the range count? Not if it is to go on with another content than this one. */
function ifRange({ headers }: Request, tag: string): boolean {
  const given = headers['if-range']
  return given === undefined || given === tag
}

function emptyOf(tag: DataTag): RecordData {
  return tag === 'bytes' ? { tag, value: new Uint8Array(0) } : { tag, value: '' }
}
