/**
 * Ordinary reads and appends of Durable Streams, served where they come in: Fastify's way from a request to its handler and back takes
 * longer than all that the broker does for one. Ordinary is what needs nothing but memory and a commit: a short read up to the end of a
 * stream, and an append that is no more than that. All else goes on to the routes as it came. What both ways check and answer, refusals
 * too, is done by the same functions.
 */

import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { asLitetopicError, ByteWriter, LIMITS, type LitetopicError } from '../../../protocol/index.ts'
import type { Appending, AtomicAppended } from '../../atomic-append.ts'
import { type Counts, increment } from '../../observe/counts.ts'
import type { BodyTaker, DirectRequest } from '../direct-request.ts'
import type { Exchange, Face } from '../face.ts'
import { FIXED_HEADERS } from '../fixed-headers.ts'
import { answerOn } from '../unreadable.ts'
import { appendAnswer, NO_PRODUCER } from './append.ts'
import { formOf, isContentType } from './media-type.ts'
import { FROM_START, parseOffset } from './offsets.ts'
import { PageWriter } from './page.ts'
import { encodeBody } from './records.ts'
import { refusalAnswer } from './refusals.ts'
import { header, type ProducerHeaders, producerHeaders } from './request-headers.ts'
import { ServedStream } from './served-stream.ts'
import { isReserved, STREAM_PATH } from './stream-name.ts'

const ON_EVERY_ANSWER = Object.entries(FIXED_HEADERS).flat()

/** The query of a read that is no live one, and begins at the start or at an offset. */
const ORDINARY_QUERY = /^(?:offset=(-1|\d{16}_\d{16}))?$/
/** What an append may have beside its body and its producer, and then is no ordinary one. */
const NOT_ORDINARY = ['stream-closed', 'stream-seq', 'transfer-encoding'] as const

/** The body of a read means nothing. */
const NOBODY: BodyTaker = { take: () => undefined, cut: () => undefined }

export class AtOnce {
  private readonly face: Face
  private readonly requestId: (request: IncomingMessage) => string
  /** Where the bodies of reads and the records of appends are written, one after the other. */
  private readonly out = new ByteWriter(LIMITS.httpAtOnceBytes)

  constructor(face: Face, requestId: (request: IncomingMessage) => string) {
    this.face = face
    this.requestId = requestId
  }

  /** Serves the request, now or as soon as its body is there, or hands it to the routes then; false if it is for them from the start. */
  serve(request: DirectRequest, response: ServerResponse, exchange: Exchange, routes: RequestListener): boolean {
    const { method, socket, url = '' } = request
    if (!url.startsWith(STREAM_PATH) || url.length > LIMITS.httpUrlBytes || this.face.stopping !== null) return false
    // Behind one that is not answered yet, it is not to overtake that.
    if (answerOn(socket) !== response || !this.face.mayServe(request, exchange)) return false
    if (method === 'GET') return this.read(url, request, response, exchange)
    return method === 'POST' && this.append(url, new Asked(request, response, exchange, routes, this.face))
  }

  private read(url: string, request: DirectRequest, response: ServerResponse, exchange: Exchange): boolean {
    const mark = url.indexOf('?')
    const name = url.slice(STREAM_PATH.length, mark < 0 ? url.length : mark)
    const query = ORDINARY_QUERY.exec(mark < 0 ? '' : url.slice(mark + 1))
    if (query === null || isReserved(name)) return false
    const offset = query[1] ?? FROM_START
    try {
      const from = offset === FROM_START ? null : parseOffset(offset)
      const found = this.face.operations.readAtOnce(exchange, name, from, LIMITS.httpAtOnceBytes)
      if (found === null) return false
      const { epoch, lineage, contentType, rest } = found
      const { position, nextOffset, closed } = rest
      const stream = new ServedStream(epoch, lineage, contentType)
      this.out.reset()
      const page = new PageWriter(stream.form, position, LIMITS.httpPageBytes, this.out)
      for (const piece of rest.pieces) page.add(piece, nextOffset)
      if (page.next < nextOffset || page.large !== null) return false
      const all = { from: position, next: nextOffset, upToDate: true, closed }
      const { status, headers } = stream.answer(all, request.headers['if-none-match'])
      request.takeBody(NOBODY)
      const pages = this.face.origins.headersFor(request)
      send(
        response,
        this.requestId(request),
        status,
        { ...pages, ...headers },
        status === 304 ? '' : page.body().toString('latin1'),
      )
      return true
    } catch {
      // The routes find the same, and say it.
      return false
    }
  }

  private append(url: string, asked: Asked): boolean {
    const { request, exchange } = asked
    const { headers } = request
    const length = Number(headers['content-length'])
    if (!(length > 0 && length <= LIMITS.httpAtOnceBytes)) return false
    const name = url.slice(STREAM_PATH.length)
    if (isReserved(name) || NOT_ORDINARY.some((known) => headers[known] !== undefined)) return false
    this.face.bodies.readDirect(request, exchange, LIMITS.httpBodyBytes, (error, body) => {
      if (error !== null || body === undefined) {
        asked.pass(error)
        return
      }
      asked.id = this.requestId(request)
      try {
        if (!this.store(name, body, asked)) asked.pass(body)
      } catch (refusal) {
        asked.failed(asLitetopicError(refusal))
      }
    })
    return true
  }

  /** False if there is more to it, and nothing was done. Throws what it is refused with. */
  private store(name: string, body: Buffer, asked: Asked): boolean {
    const { request, response, exchange } = asked
    const producer = producerHeaders(request.headers)
    const contentType = header(request.headers, 'content-type')
    // Of what says nothing of its type, or nothing that is one, the routes say what is wrong.
    if (contentType === undefined || !isContentType(contentType)) return false
    this.out.reset()
    const { bytes: records, count } = encodeBody(body, formOf(contentType), this.out)
    if (count === 0) return false
    asked.count = count
    asked.producer = producer
    const { epoch: producerEpoch, sequence } = producer ?? NO_PRODUCER
    const caller = this.face.callerOf(exchange, response)
    let isTaken = false
    try {
      const append = { producerEpoch, sequence, records, count, isChecked: true, contentType }
      isTaken = caller.appendAtOnce(name, producer?.id, append, asked)
    } finally {
      if (!isTaken) caller.close()
    }
    return isTaken
  }
}

/** An append under way, and what it is answered with. */
class Asked implements Appending {
  readonly request: DirectRequest
  readonly response: ServerResponse
  readonly exchange: Exchange
  id = ''
  count = 0
  producer: ProducerHeaders | null = null
  private readonly routes: RequestListener
  private readonly counts: Counts
  /** What a page of another origin is told. */
  private readonly pages: Readonly<Record<string, string>>

  constructor(
    request: DirectRequest,
    response: ServerResponse,
    exchange: Exchange,
    routes: RequestListener,
    { options, origins }: Face,
  ) {
    this.request = request
    this.response = response
    this.exchange = exchange
    this.routes = routes
    this.counts = options.counts
    this.pages = origins.headersFor(request)
  }

  appended(outcome: AtomicAppended): void {
    const { status, headers } = appendAnswer(outcome, this.producer, this.count)
    send(this.response, this.id, status, { ...this.pages, ...headers }, '')
  }

  failed(error: LitetopicError): void {
    const { status, headers, body } = refusalAnswer(error, this.id)
    increment(this.counts.rejected, error.code)
    send(this.response, this.id, status, { ...this.pages, ...headers }, body.toString('latin1'))
  }

  /** It is for the routes, with its body, or with what has become of that. */
  pass(taken: Exchange['taken']): void {
    this.exchange.taken = taken
    this.routes(this.request, this.response)
  }
}

/** `body`: one character a byte. */
function send(
  response: ServerResponse,
  requestId: string,
  status: number,
  headers: Readonly<Record<string, string>>,
  body: string,
): void {
  const all = [...ON_EVERY_ANSWER, 'x-request-id', requestId]
  for (const name in headers) all.push(name, headers[name] as string)
  if (status !== 204 && status !== 304) all.push('content-length', String(body.length))
  response.writeHead(status, all)
  if (body === '') response.end()
  else response.end(body, 'latin1')
}
