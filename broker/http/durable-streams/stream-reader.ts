/** One reader of a Durable Streams stream: what it asks for, and pages of what there is. Catch-up and both live modes read with it. */

import { Readable } from 'node:stream'
import { type FromInfo, LIMITS, LitetopicError } from '../../../protocol/index.ts'
import type { ReadReply } from '../../read.ts'
import type { Caller, Outlet } from '../caller.ts'
import type { Face } from '../face.ts'
import type { Reply, Request } from '../fastify.ts'
import { largeContent, largeSize } from './large-content.ts'
import { FROM_NOW, FROM_START, parseOffset } from './offsets.ts'
import { type LargeContent, PageWriter } from './page.ts'
import { type ServedPage, ServedStream } from './served-stream.ts'
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
export interface Page extends ServedPage {
  /** Behind all that was looked at: beyond `next` if that goes on within a character, and was left out. */
  readonly tail: number
  /** Empty for a large message, whose content is fetched while it is sent. */
  readonly body: Buffer
  readonly large: LargeContent | null
  /** Has it no data? */
  readonly isEmpty: boolean
  /** The end of the stream when it was read, whether it is closed there, and about how many bytes lie before it. */
  readonly end: { readonly next: number; readonly closed: boolean; readonly bytes: number }
}

const LIVE_MODES = ['long-poll', 'sse'] as const

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
export class StreamReader extends ServedStream {
  readonly caller: Caller

  private constructor(caller: Caller, epoch: number, contentType: string | undefined) {
    super(epoch, caller.lineage, contentType)
    this.caller = caller
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

  /** Answers with a page: 200, or 304 if the client has it. `more` are headers of a live mode; `content` is sent in place of its body. */
  send(page: Page, request: Request, reply: Reply, more: Record<string, string> = {}, content?: Readable): Reply {
    const { status, headers } = this.answer(page, request.headers['if-none-match'])
    reply.code(status).headers({ ...headers, ...more })
    if (status === 304) return reply.send()
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
