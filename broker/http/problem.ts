/**
 * Errors as problem details (RFC 9457): the same stable codes as on WebSocket, each with its HTTP status. HTTP.md lists
 * the same table; a test holds the two together.
 */

import { asLitetopicError, ERRORS, type ErrorCode, type ErrorDetails, LitetopicError } from '../../protocol/index.ts'

export const PROBLEM_TYPE = 'application/problem+json'

/** What a request gets that fails with the code. */
export const STATUS = {
  // A frame is no part of HTTP: records in binary form that are none, and what only a connection can do wrong.
  BAD_FRAME: 400,
  UNKNOWN_FRAME: 400,
  FRAME_TOO_LARGE: 413,
  VERSION_MISMATCH: 400,
  HELLO_EXPECTED: 400,
  UNAUTHENTICATED: 401,
  ACCESS_DENIED: 403,
  ACCESS_UNAVAILABLE: 503,
  SHUTTING_DOWN: 503,
  LIMIT_EXCEEDED: 413,
  RATE_LIMITED: 429,
  BAD_NAME: 400,
  BAD_VALUE: 400,
  BAD_REQUEST: 400,
  BAD_CURSOR: 400,
  UNKNOWN_HANDLE: 409,
  HANDLE_IN_USE: 409,
  OFFSET_BEYOND_END: 416,
  NOT_FOUND: 404,
  GONE: 410,
  TOPIC_EXISTS: 409,
  RECREATED: 410,
  TRIMMED: 410,
  DIVERGED: 410,
  CLOSED: 409,
  CHECKPOINT_UNKNOWN: 404,
  SEQUENCE_GAP: 409,
  PRODUCER_UNKNOWN: 409,
  PRODUCER_STALE: 409,
  PRODUCER_LIMIT: 429,
  FENCED: 409,
  CONTENT_TYPE_MISMATCH: 409,
  STREAM_SEQ_STALE: 409,
  STREAM_UNKNOWN: 404,
  STREAM_EXISTS: 409,
  STREAM_ENDED: 409,
  UPLOAD_UNKNOWN: 404,
  SUBSCRIPTION_NOT_FOUND: 404,
  SUBSCRIPTION_ALREADY_EXISTS: 409,
  WEBHOOK_URL_REJECTED: 400,
  TOKEN_INVALID: 401,
  TOKEN_EXPIRED: 401,
  ALREADY_CLAIMED: 409,
  NO_PENDING_WORK: 409,
  INVALID_OFFSET: 409,
  STORE_UNAVAILABLE: 503,
  STORE_CORRUPT: 500,
  NOT_OWNER: 503,
  DATA_DIR_IN_USE: 500,
  DATA_DIR_UNUSABLE: 500,
  DATA_DIR_VERSION: 500,
  PORT_IN_USE: 500,
  CONNECTION_CLOSED: 500,
  BROKER_UNREACHABLE: 503,
  BUFFER_FULL: 503,
  SCHEMA_INVALID: 400,
  STREAM_STOPPED: 409,
  CALL_FAILED: 409,
  NOT_AUTHENTIC: 409,
  OUTCOME_UNKNOWN: 409,
  INTERNAL: 500,
} as const satisfies Record<ErrorCode, number>

/** An error that is answered with another status than that of its code: HTTP says more there, or a protocol asks for it. */
export class StatusError extends LitetopicError {
  readonly status: number

  constructor(status: number, code: ErrorCode, message: string, details: ErrorDetails = {}, cause?: unknown) {
    super(code, message, details, cause)
    this.status = status
  }
}

function statusOf(error: LitetopicError): number {
  return error instanceof StatusError ? error.status : STATUS[error.code]
}

/** A problem document: the members of RFC 9457, the code, whether to try again, and the facts of the error. */
export interface Problem {
  /** A link into the list of codes, relative to the broker. */
  readonly type: string
  /** What the code means, for people; the same for every error of that code. */
  readonly title: string
  readonly status: number
  /** What happened here, for people. */
  readonly detail: string
  /** Id of the request; also in the header `X-Request-Id`. */
  readonly instance: string
  readonly code: ErrorCode
  /** The same request may succeed later, unchanged. */
  readonly retry: boolean
  readonly details: Readonly<Record<string, unknown>>
}

/** `status`: where a protocol asks for another one than that of the error. */
export function problemOf(error: LitetopicError, requestId: string, status: number = statusOf(error)): Problem {
  const { code, message, details } = error
  const { means, retry } = ERRORS[code]
  const type = `/problems/${code}`
  return { type, title: means, status, detail: message, instance: requestId, code, retry, details }
}

/** Seconds to wait for whoever is told to come back, for `Retry-After`; null for an error that does not pass by itself. */
export function retryAfter({ retry, details }: LitetopicError): number | null {
  if (!retry) return null
  const { retryAfterMs, maxDelayMs } = details
  const ms = typeof retryAfterMs === 'number' ? retryAfterMs : typeof maxDelayMs === 'number' ? maxDelayMs : 1000
  return Math.max(1, Math.ceil(ms / 1000))
}

export interface ProblemAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  /** Bytes, to which Fastify adds no charset: the type has none. */
  readonly body: Buffer
}

/** A problem as an answer, whoever sends it, without what is on every response; `status`: where a protocol asks for another one than that of the code. */
export function problemAnswer(error: LitetopicError, requestId: string, status?: number): ProblemAnswer {
  const problem = problemOf(error, requestId, status)
  const seconds = retryAfter(error)
  const headers = {
    'content-type': PROBLEM_TYPE,
    ...(seconds !== null && { 'retry-after': String(seconds) }),
    ...(problem.status === 401 && { 'www-authenticate': 'Bearer' }),
  }
  return { status: problem.status, headers, body: Buffer.from(JSON.stringify(problem)) }
}

/** What Fastify found wrong with a request before a route saw it, in the codes of litetopic. */
export function requestError(error: unknown): LitetopicError {
  if (error instanceof LitetopicError) return error
  const { statusCode, code, validation } = error as { statusCode?: unknown; code?: unknown; validation?: unknown }
  if (typeof statusCode !== 'number' || statusCode < 400 || statusCode >= 500) return asLitetopicError(error)
  const message = error instanceof Error ? error.message : String(error)
  const reason = validation === undefined ? { reason: code } : { reason: 'SCHEMA', faults: validation }
  return new StatusError(statusCode, statusCode === 413 ? 'LIMIT_EXCEEDED' : 'BAD_REQUEST', message, reason, error)
}
