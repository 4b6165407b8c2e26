/** One reader of a Durable Streams stream: what it asks for, and pages of what there is. Catch-up and both live modes read with it. */

import { Readable } from 'node:stream'
import { type FromInfo, LIMITS, LitetopicError } from '../../../protocol/index.ts'
import type { Link } from '../../../storage/index.ts'
import { TOPIC_CONTENT_TYPE } from '../../content-type.ts'
import type { ReadReply } from '../../read.ts'
import type { Caller, Outlet } from '../caller.ts'
import { isNotModified } from '../etag.ts'
import type { Face } from '../face.ts'
import type { Reply, Request } from '../fastify.ts'
import { formatEtag } from './etag.ts'
import { largeContent, largeSize } from './large-content.ts'
import { type Form, formOf } from './media-type.ts'
import { FROM_NOW, FROM_START, formatOffset, parseOffset } from './offsets.ts'
import { type LargeContent, PageWriter } from './page.ts'
import { streamOf } from './stream-name.ts'

/** What a GET asks for, once it is checked. */
export interface ReadQuery {
  /** As it was sent; undefined for none, which is the beginning. */
  readonly offset: string | undefined
  readonly live: 'long-poll' | 'sse' | null
  /** Of an earlier response, for caches. */
  readonly cursor: string | undefined
}

/** What there is from a position on. */
export interface Page {
  readonly from: number
  /** Where to read on. */
  readonly next: number
  /** Behind all that was looked at: beyond `next` if that goes on within a character, and was left out. */
  readonly tail: number
  /** Empty for a large message, whose content is fetched while it is sent. */
  readonly body: Buffer
  readonly large: LargeContent | null
  /** Has it no data? */
  readonly isEmpty: boolean
  /** There was nothing behind it. */
  readonly upToDate: boolean
  /** There never will be: the stream is closed. */
  readonly closed: boolean
  /** The end of the stream when it was read, whether it is closed there, and about how many bytes lie before it. */
  readonly end: { readonly next: number; readonly closed: boolean; readonly bytes: number }
}

const LIVE_MODES = ['long-poll', 'sse'] as const
const BEHIND_A_PAGE = 'private, max-age=60, stale-while-revalidate=300'
const AT_THE_END = 'private, no-cache'

/** Throws BAD_REQUEST or BAD_CURSOR. */
export function readQuery(request: Request): ReadQuery {
  const { offset, live, cursor } = request.query as Record<string, string | string[] | undefined>
  if (Array.isArray(offset) || Array.isArray(live)) {
    throw new LitetopicError('BAD_REQUEST', 'offset and live may be given once')
  }
  if (offset !== undefined && offset !== FROM_START && offset !== FROM_NOW) parseOffset(offset)
  const mode = LIVE_MODES.find((known) => known === live)
  if (live !== undefined && mode === undefined) {
    throw new LitetopicError('BAD_REQUEST', `live is ${LIVE_MODES.join(' or ')}`)
  }
  if (mode !== undefined && offset === undefined) {
    throw new LitetopicError('BAD_REQUEST', `with live=${mode} say which offset to read from: -1, now, or one received`)
  }
  return { offset, live: mode ?? null, cursor: Array.isArray(cursor) ? cursor[0] : cursor }
}

/** One reader of one stream, for as long as its request runs. */
export class StreamReader {
  readonly caller: Caller
  readonly contentType: string
  readonly form: Form
  private readonly epoch: number
  /** What it is forked from, the nearest first: offsets below those of a fork are its parent's. */
  private readonly lineage: readonly Link[]

  private constructor(caller: Caller, epoch: number, contentType: string | undefined) {
    this.caller = caller
    this.epoch = epoch
    this.lineage = caller.lineage
    this.contentType = contentType ?? TOPIC_CONTENT_TYPE
    this.form = formOf(this.contentType)
  }

  /** Holds the topic until the request ends, and resets its time to live. Rejects with NOT_FOUND or GONE. */
  static async open(face: Face, request: Request, reply: Reply, outlet?: Outlet): Promise<StreamReader> {
    return StreamReader.of(face.caller(reply, outlet), streamOf(request))
  }

  /** The same for the topic of a name. */
  static async of(caller: Caller, name: string): Promise<StreamReader> {
    const { epoch, contentType } = await caller.attach(name, { create: false })
    return new StreamReader(caller, epoch, contentType)
  }

  /** Where an offset of a request is. Throws RECREATED; OFFSET_BEYOND_END and TRIMMED come with the first page. */
  from(offset: string | undefined): FromInfo {
    if (offset === undefined || offset === FROM_START) return { start: true }
    if (offset === FROM_NOW) return { live: true }
    const { next, epoch } = parseOffset(offset)
    if (epoch === this.epoch || (next === 0 && epoch === 0) || this.inherits(epoch, next)) return { offset: next }
    throw new LitetopicError('RECREATED', 'the offset is of another stream, which had this name before', {
      outcome: 'recreated',
      epoch: this.epoch,
    })
  }

  /**
   * What there is from a position on: up to about `httpPageBytes`, or one large message. With `characters`, text ends between two of
   * them, unless it is the last of a closed stream. Nothing from `to` on is read.
   */
  async page(from: FromInfo, { characters = false, to = Number.MAX_SAFE_INTEGER } = {}): Promise<Page> {
    const read = { raw: true, maxBytes: LIMITS.httpPageBytes, to }
    let found = await this.caller.read({ ...read, from })
    const writer = new PageWriter(this.form, found.position, LIMITS.httpPageBytes)
    for (;;) {
      const end = Math.min(found.nextOffset, to)
      for (const batch of found.batches) writer.add(batch, end)
      const upToDate = writer.next >= end
      if (upToDate || !writer.isEmpty) {
        const closed = upToDate && found.closed
        const tail = writer.next
        if (characters && !closed) writer.leaveOutCut(upToDate)
        const { next, large, isEmpty } = writer
        const at = { from: found.position, next, tail, end: endOf(found, next) }
        return { ...at, body: writer.body(), large, isEmpty, upToDate, closed }
      }
      found = await this.caller.read({ ...read, from: { offset: writer.next } })
    }
  }

  /** The offset text of a record offset in this stream. */
  offset(next: number): string {
    const inherited = this.lineage.findLast(([, upTo]) => next < upTo)
    return formatOffset(next, inherited?.[0] ?? this.epoch)
  }

  /** Is it an offset of a stream that this one is forked from, at or before the fork? */
  private inherits(epoch: number, next: number): boolean {
    return this.lineage.some(([parent, upTo]) => parent === epoch && next <= upTo)
  }

  etag({ from, next, closed }: Page): string {
    return formatEtag(this.epoch, from, next, closed)
  }

  /** Headers of an answer that ends with the page. */
  headers({ next, upToDate, closed }: Pick<Page, 'next' | 'upToDate' | 'closed'>): Record<string, string> {
    return {
      'stream-next-offset': this.offset(next),
      ...(upToDate && { 'stream-up-to-date': 'true' }),
      ...(closed && { 'stream-closed': 'true' }),
    }
  }

  /** Answers with a page: 200, or 304 if the client has it. `more` are headers of a live mode; `content` is sent in place of its body. */
  send(page: Page, request: Request, reply: Reply, more: Record<string, string> = {}, content?: Readable): Reply {
    const etag = this.etag(page)
    const headers = {
      ...this.headers(page),
      etag,
      'cache-control': page.upToDate ? AT_THE_END : BEHIND_A_PAGE,
      ...more,
    }
    reply.headers(headers)
    if (isNotModified(request.headers['if-none-match'], etag)) return reply.code(304).send()
    reply.type(this.contentType)
    if (content !== undefined) return reply.send(content)
    if (page.large === null) return reply.send(page.body)
    const size = largeSize(page.large, this.form)
    if (size !== null) reply.header('content-length', size)
    return reply.send(Readable.from(largeContent(this.caller, page.large, this.form), { objectMode: false }))
  }
}

/** By the share of the records that lie behind the page. */
function endOf({ firstOffset, nextOffset, closed, storedBytes }: ReadReply, from: number): Page['end'] {
  const share = (nextOffset - from) / Math.max(nextOffset - firstOffset, 1)
  return { next: nextOffset, closed, bytes: storedBytes * share }
}
