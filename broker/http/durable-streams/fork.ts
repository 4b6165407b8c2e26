/** PUT with Stream-Forked-From: a stream that goes on from another one, at an offset or within what follows it. */

import {
  BatchReader,
  ByteReader,
  ByteWriter,
  type FromInfo,
  isLitetopicError,
  KIND,
  LIMITS,
  LitetopicError,
  type PolicyInfo,
  RecordWalker,
  writeMessageBytes,
} from '../../../protocol/index.ts'
import { isSameType, TOPIC_CONTENT_TYPE } from '../../content-type.ts'
import type { Caller } from '../caller.ts'
import type { Face } from '../face.ts'
import type { Reply, Request } from '../fastify.ts'
import { answer, checkSame, checkSameExpiry, type Found } from './existing.ts'
import { checkContentType } from './media-type.ts'
import { parseOffset } from './offsets.ts'
import { bodyOf, type EncodedBody, encodeBody, NO_RECORDS, tagOf } from './records.ts'
import { stillForked } from './refusals.ts'
import { closedHeader, expiryHeaders, type ForkHeaders, header } from './request-headers.ts'
import { streamAt } from './stream-name.ts'
import { StreamReader } from './stream-reader.ts'

/** Where a fork leaves its source, and the part of the next record that it has of its own. */
interface ForkPoint {
  readonly at: FromInfo
  readonly part: Uint8Array | null
}

export async function createFork(
  face: Face,
  request: Request,
  reply: Reply,
  name: string,
  fork: ForkHeaders,
): Promise<Reply> {
  const expiry = expiryHeaders(request.headers)
  const given = checkContentType(header(request.headers, 'content-type'))
  const closed = closedHeader(request.headers)
  const source = streamAt(fork.from)
  const caller = face.caller(reply)
  const found = await sourceOf(caller, source)
  const contentType = found.contentType ?? TOPIC_CONTENT_TYPE
  if (given !== undefined && !isSameType(given, contentType)) throw otherType(source, contentType, given)
  const reader = await StreamReader.of(caller, source)
  const { at, part } = await forkPoint(reader, fork)
  const first = firstRecords(part, bodyOf(request), reader)
  const policy = Object.keys(expiry).length > 0 ? expiry : expiryOf(found)
  const made = await caller.fork(source, {
    as: name,
    at,
    epoch: found.epoch,
    policy,
    keep: true,
    close: closed,
    ...(first.count > 0 && { first: { records: first.bytes, count: first.count } }),
  })
  const { created, epoch, nextOffset: next } = made
  if (!created) {
    const there = await caller.describe(name)
    checkSame(name, there, { contentType, closed })
    checkSameExpiry(name, there, caller.policyFor(name, policy))
  }
  return answer(reply, { status: created ? 201 : 200, epoch, next, contentType, closed }, request)
}

/** Rejects with NOT_FOUND, or GONE, as a conflict, for one that was deleted. */
async function sourceOf(caller: Caller, source: string): Promise<Found> {
  try {
    return await caller.describe(source)
  } catch (error) {
    if (isLitetopicError(error, 'NOT_FOUND') && (await caller.isHidden(source))) throw stillForked(source)
    throw error
  }
}

/** Rejects with BAD_CURSOR, BAD_REQUEST or OFFSET_BEYOND_END. */
async function forkPoint(reader: StreamReader, { offset, subOffset }: ForkHeaders): Promise<ForkPoint> {
  const at = offset === null ? { live: true } : positionOf(reader, offset)
  if (subOffset === 0) return { at, part: null }
  return reader.form === 'json' ? behindMessages(reader, at, subOffset) : withinRecord(reader, at, subOffset)
}

function positionOf(reader: StreamReader, offset: string): FromInfo {
  parseOffset(offset)
  try {
    return reader.from(offset)
  } catch (cause) {
    throw new LitetopicError('BAD_REQUEST', 'Stream-Fork-Offset is not an offset of the source', {}, cause)
  }
}

async function behindMessages(reader: StreamReader, at: FromInfo, count: number): Promise<ForkPoint> {
  let passed = 0
  let next = 0
  await eachMessage(reader, at, (_walker, offset) => {
    passed++
    next = offset + 1
    return passed < count
  })
  if (passed < count) throw beyond(`${passed} messages`)
  return { at: { offset: next }, part: null }
}

/** So many bytes of the next message: the whole is inherited, a part is the fork's own. */
async function withinRecord(reader: StreamReader, at: FromInfo, bytes: number): Promise<ForkPoint> {
  let found: { offset: number; size: number; data: Uint8Array | null } | null = null
  await eachMessage(reader, at, (walker, offset) => {
    const parts = walker.parts()
    const data = parts === undefined ? walker.data().slice(0, bytes) : null
    found = { offset, size: parts?.size ?? walker.dataTo - walker.dataFrom, data }
    return false
  })
  // The compiler does not see that it is assigned.
  const message = found as { offset: number; size: number; data: Uint8Array | null } | null
  if (message === null || bytes > message.size) throw beyond(`${message?.size ?? 0} bytes`)
  const { offset, size } = message
  if (bytes === size) return { at: { offset: offset + 1 }, part: null }
  return { at: { offset }, part: message.data ?? (await beginningOf(reader.caller, offset, bytes)) }
}

/** The first bytes of a large message. Rejects with LIMIT_EXCEEDED beyond what one append has. */
async function beginningOf(caller: Caller, offset: number, bytes: number): Promise<Uint8Array> {
  if (bytes > LIMITS.partBytes) {
    const details = { limit: 'appendBytes', value: bytes, bound: LIMITS.appendBytes }
    throw new LitetopicError('LIMIT_EXCEEDED', 'the part of a message that a fork begins with is one append', details)
  }
  const { reply, taken } = await caller.fetch({ offset, from: 0, maxBytes: bytes })
  taken()
  return reply.bytes
}

/** Messages and tokens from a position on, until `visit` wants no more. */
async function eachMessage(
  { caller }: StreamReader,
  from: FromInfo,
  visit: (walker: RecordWalker, offset: number) => boolean,
): Promise<void> {
  for (let at = from; ; ) {
    const { position, next, nextOffset, batches } = await caller.read({ from: at, raw: true })
    for (const bytes of batches) {
      const batch = new BatchReader(new ByteReader(bytes))
      while (batch.advance()) {
        const walker = new RecordWalker(batch.content())
        for (let offset = batch.base; walker.next(); offset++) {
          if (offset < position || offset >= nextOffset) continue
          const isData = walker.kind === KIND.message || walker.kind === KIND.token
          if (isData && !visit(walker, offset)) return
        }
      }
    }
    if (next >= nextOffset) return
    at = { offset: next }
  }
}

/** What the fork begins with: its part of a record of the source, then its own body. */
function firstRecords(part: Uint8Array | null, body: Buffer, { form }: StreamReader): EncodedBody {
  const own = body.length === 0 ? NO_RECORDS : encodeBody(body, form)
  if (part === null) return own
  const out = new ByteWriter(part.length + own.bytes.length + 16)
  const piece = Buffer.from(part)
  writeMessageBytes(out, tagOf(piece, form), piece)
  out.raw(own.bytes)
  return { bytes: out.view(), count: own.count + 1 }
}

/** A fork lives as long as its source does, unless it is told otherwise. */
function expiryOf({ policy }: Found): PolicyInfo {
  return {
    ...(typeof policy?.ttlMs === 'number' && { ttlMs: policy.ttlMs }),
    ...(typeof policy?.expiresAtMs === 'number' && { expiresAtMs: policy.expiresAtMs }),
  }
}

function otherType(source: string, contentType: string, given: string): LitetopicError {
  const message = `${source}, which is to be forked, is ${contentType}, not ${given}`
  return new LitetopicError('CONTENT_TYPE_MISMATCH', message, { contentType })
}

function beyond(what: string): LitetopicError {
  return new LitetopicError('BAD_REQUEST', `Stream-Fork-Sub-Offset is beyond the ${what} that follow the fork offset`)
}
