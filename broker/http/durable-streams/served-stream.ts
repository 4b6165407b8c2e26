/** What a stream is to those who read it: where its offsets lie, and what a page of it is answered with, whoever sends that. */

import { type FromInfo, LitetopicError } from '../../../protocol/index.ts'
import type { Link } from '../../../storage/index.ts'
import { TOPIC_CONTENT_TYPE } from '../../content-type.ts'
import { isNotModified } from '../etag.ts'
import { formatEtag } from './etag.ts'
import { type Form, formOf } from './media-type.ts'
import { FROM_NOW, FROM_START, formatOffset, parseOffset } from './offsets.ts'

/** Which part of a stream an answer has. */
export interface ServedPage {
  readonly from: number
  /** Where to read on. */
  readonly next: number
  /** There was nothing behind it. */
  readonly upToDate: boolean
  /** There never will be: the stream is closed. */
  readonly closed: boolean
}

const BEHIND_A_PAGE = 'private, max-age=60, stale-while-revalidate=300'
const AT_THE_END = 'private, no-cache'

export class ServedStream {
  readonly contentType: string
  readonly form: Form
  private readonly epoch: number
  /** What it is forked from, the nearest first: offsets below those of a fork are its parent's. */
  private readonly lineage: readonly Link[]

  constructor(epoch: number, lineage: readonly Link[], contentType: string = TOPIC_CONTENT_TYPE) {
    this.epoch = epoch
    this.lineage = lineage
    this.contentType = contentType
    this.form = formOf(contentType)
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

  /** The offset text of a record offset in this stream. */
  offset(next: number): string {
    const inherited = this.lineage.findLast(([, upTo]) => next < upTo)
    return formatOffset(next, inherited?.[0] ?? this.epoch)
  }

  /** Headers of an answer that ends with the page. */
  headers({ next, upToDate, closed }: Omit<ServedPage, 'from'>): Record<string, string> {
    const headers: Record<string, string> = { 'stream-next-offset': this.offset(next) }
    if (upToDate) headers['stream-up-to-date'] = 'true'
    if (closed) headers['stream-closed'] = 'true'
    return headers
  }

  /** What a page is answered with: itself, or 304 if the client has it. */
  answer(page: ServedPage, ifNoneMatch: string | undefined): { status: 200 | 304; headers: Record<string, string> } {
    const headers = this.headers(page)
    const etag = formatEtag(this.epoch, page.from, page.next, page.closed)
    headers.etag = etag
    headers['cache-control'] = page.upToDate ? AT_THE_END : BEHIND_A_PAGE
    if (isNotModified(ifNoneMatch, etag)) return { status: 304, headers }
    headers['content-type'] = this.contentType
    return { status: 200, headers }
  }

  /** Is it an offset of a stream that this one is forked from, at or before the fork? */
  private inherits(epoch: number, next: number): boolean {
    return this.lineage.some(([parent, upTo]) => parent === epoch && next <= upTo)
  }
}
