/** Records as JSON, from the batches that hold them: what JSON and NDJSON readers and event streams show. See HTTP.md, Records. */

import {
  type BatchReader,
  contextOpName,
  FORM,
  KIND,
  kindName,
  type RecordKind,
  type RecordParts,
  RecordWalker,
  type Run,
  readRun,
  type StreamState,
  streamStateName,
  tagName,
} from '../../../protocol/index.ts'
import { dataMember } from './data-json.ts'

/** A record, or a run of tokens. */
export interface JsonRecord {
  readonly kind: RecordKind
  readonly offset: number
  /** Of the last token of a run; else the offset. */
  readonly lastOffset: number
  /** JSON text on one line. */
  readonly json: string
  /** Of a stream record: what became of which stream. */
  readonly stream?: { readonly streamId: string; readonly state: StreamState }
}

/** Which records are wanted; of a stream, all of them or its tokens of one part. */
export interface Wanted {
  readonly stream?: string
  readonly part?: string
}

/**
 * Visits the records of a batch, raw or coalesced, at offsets from `from` to before `to`. A coalesced batch must lie within: a run
 * is never cut.
 */
export function eachRecord(
  batch: BatchReader,
  from: number,
  to: number,
  wanted: Wanted,
  visit: (record: JsonRecord) => void,
): void {
  const { principal } = batch.envelope()
  const tail = principal === undefined ? '' : `,"principal":${JSON.stringify(principal)}`
  if (batch.form === FORM.coalesced) {
    const content = batch.content()
    while (!content.done) {
      const run = readRun(content, batch.base)
      if (isWanted(wanted, run.streamId, run.part)) visit(runRecord(run, batch.timeMs, tail))
    }
    return
  }
  const walker = new RecordWalker(batch.content())
  for (let offset = batch.base; walker.next() && offset < to; offset++) {
    if (offset < from || !isWantedRecord(wanted, walker)) continue
    visit(recordOf(walker, offset, batch.timeMs, tail))
  }
}

/** Text of the tokens in a raw batch, in the order of the log, as UTF-8; those of JSON or bytes are left out. */
export function eachText(
  batch: BatchReader,
  from: number,
  to: number,
  wanted: Wanted,
  visit: (utf8: Uint8Array, part: string) => void,
): void {
  const walker = new RecordWalker(batch.content())
  let isOurs = false
  let part = ''
  for (let offset = batch.base; walker.next() && offset < to; offset++) {
    if (walker.kind !== KIND.token) continue
    if (!walker.repeat) {
      part = walker.part()
      isOurs = isWanted(wanted, walker.name(), part)
    }
    if (isOurs && offset >= from && tagName(walker.tag) === 'text') visit(walker.data(), part)
  }
}

function isWanted({ stream, part }: Wanted, streamId: string, ofPart: string): boolean {
  return (stream === undefined || stream === streamId) && (part === undefined || part === ofPart)
}

function isWantedRecord(wanted: Wanted, walker: RecordWalker): boolean {
  if (wanted.stream === undefined) return true
  if (walker.kind === KIND.token) return isWanted(wanted, walker.name(), walker.part())
  return walker.kind === KIND.stream && wanted.part === undefined && walker.name() === wanted.stream
}

function runRecord(run: Run, timeMs: number, tail: string): JsonRecord {
  const { first, last, sizes, streamId, part } = run
  const tag = tagName(run.tag)
  const data = tag === 'bytes' ? { tag, value: run.data } : { tag, value: utf8(run.data) }
  const place = sizes.length === 1 ? '' : `,"lastOffset":${last},"tokens":${sizes.length}`
  const head = `{"offset":${first}${place},"timeMs":${timeMs},"kind":"token"`
  return {
    kind: 'token',
    offset: first,
    lastOffset: last,
    json: `${head}${tokenMembers(streamId, part)}${dataMember(data)}${tail}}`,
  }
}

function recordOf(walker: RecordWalker, offset: number, timeMs: number, tail: string): JsonRecord {
  const kind = kindName(walker.kind)
  const extras = walker.extras()
  const data = extras?.parts === undefined ? dataMember(walker.recordData()) : largeMember(walker, extras.parts)
  let members = ''
  if (extras?.id !== undefined) members += `,"id":${JSON.stringify(extras.id)}`
  if (extras?.trace !== undefined) members += `,"trace":${JSON.stringify(extras.trace)}`
  const json = `{"offset":${offset},"timeMs":${timeMs},"kind":"${kind}"${members}${fields(walker)}${data}${tail}}`
  const place = { kind, offset, lastOffset: offset, json }
  if (walker.kind !== KIND.stream) return place
  return { ...place, stream: { streamId: walker.name(), state: streamStateName(walker.code) } }
}

function fields(walker: RecordWalker): string {
  switch (walker.kind) {
    case KIND.token:
      return tokenMembers(walker.name(), walker.part())
    case KIND.context:
      return `,"op":"${contextOpName(walker.code)}","name":${JSON.stringify(walker.name())}`
    case KIND.checkpoint:
      return `,"name":${JSON.stringify(walker.name())}`
    case KIND.stream:
      return `,"streamId":${JSON.stringify(walker.name())},"state":"${streamStateName(walker.code)}"`
    default:
      return ''
  }
}

function tokenMembers(streamId: string, part: string): string {
  return `,"streamId":${JSON.stringify(streamId)},"part":${JSON.stringify(part)}`
}

function largeMember(walker: RecordWalker, { size, sha256, uploadId }: RecordParts): string {
  const hash = Buffer.from(sha256).toString('hex')
  return `,"large":${JSON.stringify({ tag: tagName(walker.tag), size, sha256: hash, uploadId })}`
}

function utf8(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
}
