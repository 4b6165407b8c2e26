/**
 * The stable codes of everything that can go wrong, and their two consequences: may the same request be retried later,
 * and does the connection close. PROTOCOL.md lists the same table; a test holds the two together.
 */

interface Consequence {
  /** The same request may succeed later without being changed. */
  readonly retry: boolean
  /** The broker closes the connection after sending it. */
  readonly closes: boolean
  /** What it means, in one line. */
  readonly means: string
}

const entry = (means: string, consequence: { retry?: true; closes?: true } = {}): Consequence => ({
  retry: consequence.retry === true,
  closes: consequence.closes === true,
  means,
})

export const ERRORS = {
  // the connection
  BAD_FRAME: entry('a frame is not plain msgpack data or has the wrong shape', { closes: true }),
  UNKNOWN_FRAME: entry('a frame type that this version does not have', { closes: true }),
  FRAME_TOO_LARGE: entry('a WebSocket message beyond the size limit', { closes: true }),
  VERSION_MISMATCH: entry('client and broker share no protocol version', { closes: true }),
  HELLO_EXPECTED: entry('the first frame of a connection must be hello, and come in time', { closes: true }),
  UNAUTHENTICATED: entry('the token is missing, wrong or expired', { closes: true }),
  ACCESS_DENIED: entry('the token does not grant this'),
  ACCESS_UNAVAILABLE: entry('the keys by which tokens are verified cannot be fetched at present', {
    retry: true,
    closes: true,
  }),
  SHUTTING_DOWN: entry('the broker is stopping; come back after the delay it names', { retry: true }),
  LIMIT_EXCEEDED: entry(
    'a bound of limits.ts or of the configuration; details name the limit, the value and the bound',
  ),
  RATE_LIMITED: entry('more per second than the configuration allows; details also say when to come back', {
    retry: true,
  }),
  // requests
  BAD_NAME: entry('a topic name, id, part or prefix that breaks the rules of names'),
  BAD_VALUE: entry('data that is not what its tag says, or a value that is neither JSON nor bytes'),
  BAD_REQUEST: entry('options that contradict each other or lie outside their range'),
  BAD_CURSOR: entry('text that is not a cursor'),
  UNKNOWN_HANDLE: entry('a handle that is not attached on this connection'),
  HANDLE_IN_USE: entry('a handle or subscription number that is taken on this connection'),
  OFFSET_BEYOND_END: entry('an offset or cursor beyond the end of the topic'),
  // topics
  NOT_FOUND: entry('the topic does not exist, and the request does not create it'),
  GONE: entry('the topic was deleted or reclaimed while attached, or since the cursor was taken'),
  RECREATED: entry('the topic of that name is another incarnation than the one meant'),
  TRIMMED: entry('the records asked for have been trimmed; details name the first offset still there'),
  DIVERGED: entry('the cursor is of a history that this store, or this fork, does not share as far'),
  CLOSED: entry('the topic is closed and takes no more records'),
  CHECKPOINT_UNKNOWN: entry('no checkpoint of that name, or none at all'),
  // producers and streams
  SEQUENCE_GAP: entry('an append whose sequence is not the next one, because an earlier one was refused or lost'),
  PRODUCER_UNKNOWN: entry('the producer is not known here and does not start at its beginning'),
  PRODUCER_STALE: entry('a newer epoch of the same producer has written since'),
  PRODUCER_LIMIT: entry('the topic remembers as many producers as it may, and none can be forgotten', { retry: true }),
  FENCED: entry('another writer has taken over the stream or the topic, or a wake is over'),
  CONTENT_TYPE_MISMATCH: entry('data of another content type than that of the topic; details name that one'),
  TOPIC_EXISTS: entry('a topic of that name exists already, and is not as the request wants it'),
  STREAM_SEQ_STALE: entry('a Stream-Seq that is not greater than the newest one of the topic; details name that one'),
  STREAM_UNKNOWN: entry('no stream of that id is open in the topic'),
  STREAM_EXISTS: entry('a stream of that id exists already'),
  STREAM_ENDED: entry('the stream has ended; details name its end'),
  UPLOAD_UNKNOWN: entry('no upload of that id, or one that is not complete: it was never begun, or has expired'),
  // Durable Streams subscriptions
  SUBSCRIPTION_NOT_FOUND: entry('no Durable Streams subscription of that id'),
  SUBSCRIPTION_ALREADY_EXISTS: entry('a Durable Streams subscription of that id is configured otherwise'),
  WEBHOOK_URL_REJECTED: entry('a webhook that the configuration does not allow, or that is not to be reached safely'),
  TOKEN_INVALID: entry('the token of a wake is missing, or is not of this subscription'),
  TOKEN_EXPIRED: entry('the token of a wake has expired'),
  ALREADY_CLAIMED: entry('another worker has claimed the wake; details name it', { retry: true }),
  NO_PENDING_WORK: entry('the subscription has nothing that is not acknowledged', { retry: true }),
  INVALID_OFFSET: entry(
    'an acknowledgement of an offset that is not of the stream, behind what is acknowledged or beyond its end',
  ),
  // storage
  STORE_UNAVAILABLE: entry('the store cannot write at present; nothing was acknowledged', { retry: true }),
  STORE_CORRUPT: entry('a stored unit fails its checksum or is missing from its sequence'),
  NOT_OWNER: entry('a commit number that is not the next: another owner writes this store'),
  DATA_DIR_IN_USE: entry('another broker, or this process, has the data directory open'),
  DATA_DIR_UNUSABLE: entry('the data directory cannot be created, read or written'),
  DATA_DIR_VERSION: entry('the data directory has a format this version does not know'),
  PORT_IN_USE: entry('the address is taken by another process'),
  // raised in the client only
  CONNECTION_CLOSED: entry('the client was closed by its user while the request waited'),
  BROKER_UNREACHABLE: entry('no broker answered within the time the caller allowed', { retry: true }),
  BUFFER_FULL: entry('more was written without waiting than the client may hold'),
  SCHEMA_INVALID: entry('a value that the session’s schema refuses'),
  STREAM_STOPPED: entry('the stream was stopped; the reason of an AbortSignal'),
  CALL_FAILED: entry('a call that runs once has thrown when it ran; details have what it threw'),
  NOT_AUTHENTIC: entry('a sealed record that was not written so, at that place, with the reader’s key'),
  OUTCOME_UNKNOWN: entry('a call that runs once was cut off: nobody knows whether it took effect'),
  INTERNAL: entry('a broken invariant: a fault of litetopic; the operation was stopped'),
} as const satisfies Record<string, Consequence>

export type ErrorCode = keyof typeof ERRORS

/** Facts about an error that a program may act on: limits, offsets, outcomes, delays. Plain data. */
export type ErrorDetails = Readonly<Record<string, unknown>>

/**
 * The one error type of litetopic. Match `code`, never the message.
 * `retry` says whether the same request may succeed later unchanged.
 */
export class LitetopicError extends Error {
  readonly code: ErrorCode
  readonly details: ErrorDetails
  override readonly name = 'LitetopicError'

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.details = details
  }

  get retry(): boolean {
    return ERRORS[this.code].retry
  }
}

export function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && Object.hasOwn(ERRORS, code)
}

/** Is it a LitetopicError, and if codes are given, one of those? */
export function isLitetopicError(error: unknown, ...codes: ErrorCode[]): error is LitetopicError {
  return error instanceof LitetopicError && (codes.length === 0 || codes.includes(error.code))
}

/** Wraps what is not a LitetopicError as INTERNAL, keeping it as the cause. */
export function asLitetopicError(error: unknown): LitetopicError {
  if (error instanceof LitetopicError) return error
  const message = error instanceof Error ? error.message : String(error)
  return new LitetopicError('INTERNAL', message, {}, error)
}

/** Stops the operation when something that must hold does not. For faults of litetopic, never for bad input. */
export function invariant(condition: unknown, what: string): asserts condition {
  if (!condition) throw new LitetopicError('INTERNAL', `broken invariant: ${what}`)
}
