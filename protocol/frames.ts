/**
 * Every frame of version 1, as two unions: up (client to broker) and down. A frame is a msgpack array with its type
 * first. What each means is in PROTOCOL.md, Frames. The types below are inferred from the shapes; a test pins their hash.
 */

import { LIMITS } from './limits.ts'
import {
  bool,
  bytes,
  either,
  list,
  literal,
  nullable,
  object,
  plain,
  type Shape,
  type TypeOf,
  text,
  tuple,
  uint,
} from './shape.ts'

export const UP = {
  hello: 1,
  token: 2,
  attach: 3,
  detach: 4,
  append: 5,
  openStream: 6,
  stop: 7,
  trim: 8,
  policy: 9,
  subscribe: 10,
  unsubscribe: 11,
  credit: 12,
  resume: 13,
  describe: 14,
  list: 15,
  delete: 16,
  checkpoints: 17,
  context: 18,
  stream: 19,
  closeTopic: 20,
  fork: 21,
  issueToken: 22,
  upload: 24,
  part: 25,
  abandon: 26,
  fetch: 27,
} as const

export const DOWN = {
  welcome: 64,
  reply: 65,
  error: 66,
  ack: 67,
  refuse: 68,
  deliver: 69,
  subscriptionEnd: 70,
  notice: 71,
  moved: 72,
  goaway: 73,
  partGrant: 80,
} as const

const request = uint(0xffff_ffff)
const handle = uint(LIMITS.handlesPerConnection - 1)
const subscription = uint(LIMITS.subscriptionsPerConnection - 1)
const name = text(LIMITS.nameBytes)
const offset = uint()
const epoch = uint()
const sequence = uint()
const duration = uint()
const dataTag = literal('text', 'json', 'bytes')
const contentType = text(LIMITS.contentTypeBytes)
const lingerMs = either(duration, literal('forever'))

const right = literal('read', 'write', 'stop', 'manage')

const retention = { maxBytes: nullable(uint()), maxRecords: nullable(uint()), maxAgeMs: nullable(duration) }
const life = { ttlMs: nullable(duration), expiresAtMs: nullable(uint()) }
const policy = object({}, { lingerMs, ...retention, ...life })

const attachOptions = object(
  {},
  {
    /** May the topic be created? Default true. */
    create: bool,
    /** The incarnation meant; another one is refused with RECREATED, none with GONE. */
    epoch,
    /** Stands behind what this client was told is stored: refused with DIVERGED where the store has not all of it. */
    cursor: text(64),
    /** Does not hold the topic, and cannot write. */
    observe: bool,
    /** Takes the topic's fence: no other exclusive or plain writer may append. */
    exclusive: bool,
    /** The fence that this producer has attached under before: takes none, and may write only if it still is the topic's. */
    fence: uint(),
    /** Id of the producer that appends on this handle. */
    producer: text(64),
    /** Policy of the topic if this attach creates it. */
    policy,
    /** What its data is, if this attach creates it. */
    contentType,
  },
)

/** Where to start reading. Exactly one field. */
const from = object(
  {},
  { start: bool, live: bool, last: uint(), timeMs: uint(), cursor: text(64), offset, checkpoint: nullable(name) },
)

export const UP_FRAMES = {
  [UP.hello]: tuple(
    literal(UP.hello),
    uint(255),
    object({}, { token: text(LIMITS.accessTokenBytes), client: text(255) }),
  ),
  [UP.token]: tuple(literal(UP.token), request, text(LIMITS.accessTokenBytes)),
  [UP.attach]: tuple(literal(UP.attach), request, handle, name, attachOptions),
  [UP.detach]: tuple(literal(UP.detach), request, handle),
  [UP.append]: tuple(literal(UP.append), bytes),
  [UP.openStream]: tuple(
    literal(UP.openStream),
    request,
    handle,
    uint(),
    sequence,
    name,
    literal('create', 'continue', 'join'),
  ),
  [UP.stop]: tuple(literal(UP.stop), request, handle, nullable(name), object({}, { reason: text() })),
  [UP.trim]: tuple(
    literal(UP.trim),
    request,
    handle,
    uint(),
    sequence,
    object({}, { before: offset, checkpoint: name }),
  ),
  [UP.policy]: tuple(literal(UP.policy), request, handle, policy),
  [UP.subscribe]: tuple(
    literal(UP.subscribe),
    request,
    handle,
    subscription,
    from,
    object({}, { raw: bool, creditBytes: uint(LIMITS.creditMaxBytes) }),
  ),
  [UP.unsubscribe]: tuple(literal(UP.unsubscribe), request, subscription),
  [UP.credit]: tuple(literal(UP.credit), subscription, uint(LIMITS.creditMaxBytes)),
  [UP.resume]: tuple(literal(UP.resume), request, handle, object({}, { cursor: text(64), checkpoint: nullable(name) })),
  [UP.describe]: tuple(literal(UP.describe), request, name),
  [UP.list]: tuple(literal(UP.list), request, name, object({}, { after: name, limit: uint(LIMITS.pageItems) })),
  [UP.delete]: tuple(literal(UP.delete), request, name, nullable(epoch)),
  [UP.checkpoints]: tuple(
    literal(UP.checkpoints),
    request,
    handle,
    object({}, { before: offset, limit: uint(LIMITS.pageItems) }),
  ),
  [UP.context]: tuple(
    literal(UP.context),
    request,
    handle,
    object({}, { name, asOf: offset, after: name, limit: uint(LIMITS.pageItems) }),
  ),
  [UP.stream]: tuple(literal(UP.stream), request, handle, name),
  /** With records it is an append too, of so many in these bytes. */
  [UP.closeTopic]: tuple(
    literal(UP.closeTopic),
    request,
    handle,
    uint(),
    sequence,
    object({}, { records: bytes, count: uint(LIMITS.appendRecords), fence: offset }),
  ),
  [UP.fork]: tuple(
    literal(UP.fork),
    request,
    name,
    name,
    /** `at`: the first record that the fork does not share; the end, where it is not said. */
    object({}, { at: from, epoch, policy }),
  ),
  [UP.issueToken]: tuple(
    literal(UP.issueToken),
    request,
    object({ topic: name, can: list(right) }, { forMs: duration, as: name }),
  ),
  [UP.upload]: tuple(literal(UP.upload), request, handle, name, object({ tag: dataTag }, { id: name, size: uint() })),
  [UP.part]: tuple(literal(UP.part), request, handle, name, uint(), uint(0xffff_ffff), bytes),
  [UP.abandon]: tuple(literal(UP.abandon), request, handle, name),
  [UP.fetch]: tuple(literal(UP.fetch), request, handle, offset, uint(), uint(LIMITS.partBytes)),
} as const

export type UpFrame = TypeOf<(typeof UP_FRAMES)[keyof typeof UP_FRAMES]>

const streamState = literal('open', 'resumed', 'lost', 'done', 'stopped', 'failed')

/** A stream as the broker knows it. `live`: its writer is connected. `detail`: the data of its last stream record, JSON text. */
export const streamInfo = object(
  { streamId: name, state: streamState, live: bool, openOffset: offset, fence: offset, lastOffset: offset },
  { detail: nullable(text(LIMITS.messageBytes)) },
)

/** Data as it travels in answers: tag and value. */
const data = object({ tag: dataTag, value: either(text(LIMITS.messageBytes), bytes) })
const checkpoint = object({ name, offset, cursor: text(64), timeMs: uint() }, { state: data })
/** A context entry: its pieces since the last set, in order. */
const contextEntry = object({ name, offset, pieces: list(data) })
const producer = object({ producerEpoch: uint(), sequence })
const topicInfo = object(
  {
    name,
    epoch,
    firstOffset: offset,
    nextOffset: offset,
    bytes: uint(),
    createdMs: uint(),
    lastAppendMs: uint(),
    lingerMs,
    hold: literal('attached', 'lingering', 'kept'),
    residency: literal('resident', 'dormant'),
  },
  {
    attachments: uint(),
    streams: list(streamInfo),
    checkpoints: uint(),
    contextEntries: uint(),
    closed: bool,
    /** Of a fork: its parent, and the offset at which it goes on by itself. */
    forkedFrom: object({ name, epoch, offset }),
    /** Does an exclusive session have it? */
    exclusive: bool,
    reclaimAtMs: nullable(uint()),
    policy,
    contentType,
  },
)
const outcome = literal('continued', 'trimmed', 'recreated', 'gone', 'diverged')

/** What a reply to each request holds. */
export const REPLIES = {
  [UP.token]: object({}),
  [UP.attach]: object(
    {
      epoch,
      created: bool,
      firstOffset: offset,
      nextOffset: offset,
      cursor: text(64),
      lingerMs,
      /** What the broker remembers of the producer named, or null. */
      producer: nullable(producer),
    },
    /** The topic's fence that this handle writes under. */
    { fence: uint(), contentType, closed: bool },
  ),
  [UP.detach]: object({}),
  /** `fence` is null when the stream was not opened because it has ended or is live elsewhere (mode join). */
  [UP.openStream]: object({ fence: nullable(offset), stream: streamInfo, offset: nullable(offset) }),
  [UP.stop]: object({ streams: list(streamInfo) }),
  [UP.trim]: object({ firstOffset: offset }),
  [UP.policy]: object({ policy }),
  [UP.subscribe]: object({ next: offset, firstOffset: offset, nextOffset: offset }),
  [UP.unsubscribe]: object({}),
  [UP.resume]: object(
    { outcome, firstOffset: offset, nextOffset: offset, cursor: nullable(text(64)) },
    {
      checkpoint: nullable(checkpoint),
      context: list(contextEntry),
      /** True when context or text was too large to be sent inline. */
      partial: bool,
      streams: list(
        object({ stream: streamInfo, text: list(object({ part: name, text: text(LIMITS.messageBytes) })) }),
      ),
      commonOffset: nullable(offset),
    },
  ),
  [UP.describe]: topicInfo,
  [UP.list]: object({ topics: list(topicInfo), more: bool }),
  [UP.delete]: object({ deleted: bool }),
  [UP.checkpoints]: object({ checkpoints: list(checkpoint), more: bool }),
  [UP.context]: object({ entries: list(contextEntry), more: bool }),
  [UP.stream]: object({ stream: nullable(streamInfo) }),
  /** `offset`: of the first record, or where it would be; `nextOffset`: the end, for ever. */
  [UP.closeTopic]: object({ offset, nextOffset: offset }),
  /** `offset`: where the fork goes on by itself. */
  [UP.fork]: object({ epoch, created: bool, offset, firstOffset: offset, nextOffset: offset, cursor: text(64) }),
  [UP.issueToken]: object({ token: text(LIMITS.accessTokenBytes), principal: text(), expiresAtMs: uint() }),
  /** `offset`: there is a record of that id, or of this upload, already; nothing is to be uploaded. */
  [UP.upload]: object({ storedParts: uint() }, { offset: nullable(offset) }),
  [UP.part]: object({}),
  [UP.abandon]: object({}),
  [UP.fetch]: object({ bytes, size: uint() }),
} as const

export type RequestType = keyof typeof REPLIES
export type ReplyOf<R extends RequestType> = TypeOf<(typeof REPLIES)[R]>
export type StreamInfo = TypeOf<typeof streamInfo>
export type TopicInfo = TypeOf<typeof topicInfo>
export type CheckpointInfo = TypeOf<typeof checkpoint>
export type ContextInfo = TypeOf<typeof contextEntry>
export type PolicyInfo = TypeOf<typeof policy>
export type FromInfo = TypeOf<typeof from>
export type AttachOptions = TypeOf<typeof attachOptions>
export type ResumeOutcome = TypeOf<typeof outcome>
export type DataInfo = TypeOf<typeof data>

const code = text(64)
const details = plain

export const DOWN_FRAMES = {
  [DOWN.welcome]: tuple(
    literal(DOWN.welcome),
    uint(255),
    object({ incarnation: text(12), timeMs: uint(), server: text(255) }, { messageBytes: uint(), pingMs: uint() }),
  ),
  [DOWN.reply]: tuple(literal(DOWN.reply), request, plain),
  /** Request 0: about the connection. */
  [DOWN.error]: tuple(literal(DOWN.error), request, code, text(), details),
  [DOWN.ack]: tuple(literal(DOWN.ack), bytes),
  [DOWN.refuse]: tuple(literal(DOWN.refuse), handle, uint(), sequence, code, text(), details),
  [DOWN.deliver]: tuple(literal(DOWN.deliver), bytes),
  [DOWN.subscriptionEnd]: tuple(literal(DOWN.subscriptionEnd), subscription, code, text(), details),
  /** What happened to a topic attached: deleted, reclaimed, trimmed, or a stream stopped, taken over or lost. */
  [DOWN.notice]: tuple(
    literal(DOWN.notice),
    handle,
    literal('deleted', 'reclaimed', 'trimmed', 'stopped', 'fenced'),
    object({}, { streamId: name, fence: offset, firstOffset: offset, reason: nullable(text()) }),
  ),
  [DOWN.moved]: tuple(literal(DOWN.moved), request, text()),
  [DOWN.goaway]: tuple(literal(DOWN.goaway), text(255), object({ minDelayMs: duration, maxDelayMs: duration })),
  /** So many more parts of the upload may be sent; 0: none of those granted before, as far as they have not been sent. */
  [DOWN.partGrant]: tuple(literal(DOWN.partGrant), handle, name, uint()),
} as const

export type DownFrame = TypeOf<(typeof DOWN_FRAMES)[keyof typeof DOWN_FRAMES]>
export type Welcome = TypeOf<(typeof DOWN_FRAMES)[typeof DOWN.welcome]>[2]

/** One frame of a given type. */
export type Up<T extends keyof typeof UP_FRAMES> = TypeOf<(typeof UP_FRAMES)[T]>
export type Down<T extends keyof typeof DOWN_FRAMES> = TypeOf<(typeof DOWN_FRAMES)[T]>

/** The whole schema as text; its hash is pinned by a test and changes only with PROTOCOL_VERSION or an optional field. */
export function schemaText(): string {
  const print = (frames: Readonly<Record<number, Shape<unknown>>>): string =>
    Object.keys(frames)
      .map((type) => `${type}=${(frames[Number(type)] as Shape<unknown>).text}`)
      .join('\n')
  return [print(UP_FRAMES), print(REPLIES), print(DOWN_FRAMES)].join('\n--\n')
}
