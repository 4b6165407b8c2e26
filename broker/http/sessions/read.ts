/**
 * Reading records: a range of offsets, fixed when it is asked for, piece by piece, so that an answer of any length takes little
 * memory. See HTTP.md, Read.
 */

import { Readable } from 'node:stream'
import {
  BatchReader,
  ByteReader,
  type FromInfo,
  formatCursor,
  LIMITS,
  LitetopicError,
  parseCursor,
} from '../../../protocol/index.ts'
import { negotiate } from '../accept.ts'
import type { Caller } from '../caller.ts'
import { isNotModified } from '../etag.ts'
import type { Face } from '../face.ts'
import type { App, Reply, Request } from '../fastify.ts'
import { topicOf } from '../names.ts'
import { StatusError } from '../problem.ts'
import { JSON_TYPE, LINES_TYPE, RECORDS_TYPE, TEXT_TYPE } from './body.ts'
import { eachRecord, eachText, type Wanted } from './record-json.ts'
import { attachToLook, fromOf, type Query, queryOf, queryText } from './request.ts'
import {
  FLAGS,
  headersOf,
  LIMIT_OF_RECORDS,
  MEANT,
  PLACE_ERRORS,
  PLACES,
  parameters,
  RECORDS,
  STREAM,
} from './schemas.ts'

const TYPES = [JSON_TYPE, LINES_TYPE, TEXT_TYPE, RECORDS_TYPE] as const
type Type = (typeof TYPES)[number]

const READ = {
  operationId: 'readRecords',
  summary: 'Read records, or the text of a stream',
  tags: ['records'],
  querystring: parameters({ ...MEANT, ...PLACES, limit: LIMIT_OF_RECORDS, raw: FLAGS.raw, ...STREAM }),
  response: {
    200: {
      description: 'Records from there on, as they are accepted.',
      headers: headersOf({
        'litetopic-cursor': 'Where to read on.',
        'litetopic-epoch': 'The incarnation.',
        'litetopic-first-offset': 'The first offset that is kept.',
        'litetopic-next-offset': 'The end of the topic.',
        link: 'The next page, while there is one.',
        etag: 'Of these records.',
      }),
      content: {
        [JSON_TYPE]: { schema: RECORDS },
        [LINES_TYPE]: { schema: { type: 'string' } },
        [TEXT_TYPE]: { schema: { type: 'string' } },
        [RECORDS_TYPE]: { schema: { type: 'string' } },
      },
    },
    304: { type: 'null', description: 'As the entity tag says.' },
  },
  errors: [...PLACE_ERRORS, 'STREAM_UNKNOWN'],
  refusals: [406],
} as const

/** What is read, once that is known. */
interface Range {
  readonly type: Type
  readonly raw: boolean
  readonly wanted: Wanted
  readonly incarnation: string
  readonly epoch: number
  readonly from: number
  /** Behind the last offset that the answer covers. */
  readonly to: number
  readonly firstOffset: number
  readonly nextOffset: number
}

export function readRoutes(app: App, face: Face): void {
  app.get('/v1/records/*', { schema: READ }, (request, reply) => readRecords(face, request, reply))
}

async function readRecords(face: Face, request: Request, reply: Reply): Promise<Reply> {
  const query = queryOf(request)
  const type = negotiate(request.headers.accept, TYPES)
  if (type === null) throw new StatusError(406, 'BAD_REQUEST', `records can be had as ${TYPES.join(', ')}`)
  checkWanted(type, query)
  const isHead = request.method === 'HEAD'
  const caller = face.caller(reply)
  const { cursor, epoch } = await attachToLook(caller, topicOf(request), query, { observe: isHead })
  const range = await rangeOf(caller, query, { type, epoch, incarnation: parseCursor(cursor).incarnation })
  setHeaders(reply, request, query, range)
  if (isNotModified(request.headers['if-none-match'], tagOf(range))) return reply.code(304).send()
  reply.type(type === TEXT_TYPE ? `${TEXT_TYPE}; charset=utf-8` : type)
  if (isHead) return reply.send()
  return sendPieces(reply, piecesOf(caller, range))
}

/** Throws BAD_REQUEST for a query that the type has no use for. */
function checkWanted(type: Type, { stream, part }: Query): void {
  if (part !== undefined && stream === undefined) throw bad('part is of a stream: say which')
  if (type === TEXT_TYPE && stream === undefined) throw bad('text is that of a stream: say which')
  if (type === RECORDS_TYPE && stream !== undefined) throw bad('binary records are those of all streams')
}

async function rangeOf(
  caller: Caller,
  query: Query,
  given: Pick<Range, 'type' | 'epoch' | 'incarnation'>,
): Promise<Range> {
  const { stream, part } = query
  const from = fromOf(query) ?? (stream === undefined ? { start: true } : await openingOf(caller, stream))
  const limit = query.limit ?? (given.type === JSON_TYPE ? LIMITS.pageItems : Number.POSITIVE_INFINITY)
  const { position, firstOffset, nextOffset } = await caller.read({ from, maxBytes: 0 })
  const to = Math.min(position + limit, nextOffset)
  // The text of a stream is taken from its tokens as they are: in runs its parts would not be in the order of the log.
  const raw = given.type === TEXT_TYPE || query.raw === true
  return { ...given, raw, wanted: { stream, part }, from: position, to, firstOffset, nextOffset }
}

async function openingOf(caller: Caller, streamId: string): Promise<FromInfo> {
  const { stream } = await caller.stream(streamId)
  if (stream !== null) return { offset: stream.openOffset }
  throw new LitetopicError('STREAM_UNKNOWN', `there is no stream ${streamId} here`, { streamId })
}

function setHeaders(reply: Reply, request: Request, query: Query, range: Range): void {
  const cursor = cursorAt(range, range.to)
  reply.headers({
    vary: 'accept',
    'cache-control': 'no-cache',
    etag: tagOf(range),
    'litetopic-epoch': range.epoch,
    'litetopic-first-offset': range.firstOffset,
    'litetopic-next-offset': range.nextOffset,
    'litetopic-cursor': cursor,
  })
  if (range.to === range.nextOffset) return
  const { epoch, limit, raw, stream, part } = query
  const next = queryText({ epoch, limit, raw, stream, part, cursor })
  reply.header('link', `</v1/records/${topicOf(request)}?${next}>; rel="next"`)
}

/** What is stored at offsets never changes; only a JSON answer tells how much there is besides. */
function tagOf(range: Range): string {
  const { type, raw, to, firstOffset, nextOffset } = range
  const also = type === JSON_TYPE ? `-${firstOffset}-${nextOffset}` : ''
  return `W/"${cursorAt(range, range.from)}-${to}-${TYPES.indexOf(type)}${raw ? 'r' : ''}${also}"`
}

function cursorAt({ incarnation, epoch }: Range, next: number): string {
  return formatCursor({ incarnation, epoch, next })
}

/** Sends what is one piece at once, and streams what is more. */
async function sendPieces(reply: Reply, pieces: AsyncGenerator<Buffer>): Promise<Reply> {
  const first = await pieces.next()
  if (first.done === true) return reply.send(Buffer.alloc(0))
  const second = await pieces.next()
  if (second.done === true) return reply.send(first.value)
  async function* all(): AsyncGenerator<Buffer> {
    yield first.value as Buffer
    yield second.value as Buffer
    yield* pieces
  }
  return reply.send(Readable.from(all(), { objectMode: false }))
}

/** The body, none of its pieces empty. A range that is trimmed meanwhile ends it with TRIMMED. */
async function* piecesOf(caller: Caller, range: Range): AsyncGenerator<Buffer> {
  const { type, raw, from, to } = range
  let kept = type === JSON_TYPE ? [headOf(range)] : []
  let count = 0
  const take = (record: string): void => {
    kept.push(type === LINES_TYPE ? `${record}\n` : count === 0 ? record : `,${record}`)
    count++
  }
  for (let next = from; next < to; ) {
    const { batches, next: behind } = await caller.read({ from: { offset: next }, to, raw })
    if (type === TEXT_TYPE || type === RECORDS_TYPE) {
      const bytes = type === TEXT_TYPE ? texts(batches, next, range) : Buffer.concat(batches)
      if (bytes.length > 0) yield bytes
    } else {
      for (const batch of batches) {
        eachRecord(readerOf(batch), next, to, range.wanted, ({ json }) => take(json))
      }
      if (behind < to && kept.length > 0) {
        yield Buffer.from(kept.join(''))
        kept = []
      }
    }
    next = behind
  }
  if (type === JSON_TYPE) kept.push(']}')
  if (kept.length > 0) yield Buffer.from(kept.join(''))
}

function headOf(range: Range): string {
  const { epoch, firstOffset, nextOffset, to } = range
  const members = { epoch, firstOffset, nextOffset, cursor: cursorAt(range, to), more: to < nextOffset }
  return `${JSON.stringify(members).slice(0, -1)},"records":[`
}

function texts(batches: readonly Uint8Array[], from: number, { to, wanted }: Range): Buffer {
  const pieces: Uint8Array[] = []
  for (const batch of batches) eachText(readerOf(batch), from, to, wanted, (piece) => pieces.push(piece))
  return Buffer.concat(pieces)
}

function readerOf(bytes: Uint8Array): BatchReader {
  const batch = new BatchReader(new ByteReader(bytes))
  batch.advance()
  return batch
}

function bad(message: string): LitetopicError {
  return new LitetopicError('BAD_REQUEST', message)
}
