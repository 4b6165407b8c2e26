/** Where the Durable Streams protocol asks for another status than the table of problem.ts, or for facts in headers. */

import { LitetopicError } from '../../../protocol/index.ts'
import { type ProblemAnswer, problemAnswer, StatusError } from '../problem.ts'

interface Refusal {
  /** Undefined for that of the table. */
  readonly status: number | undefined
  readonly headers: Readonly<Record<string, string>>
}

/** The problem document that a request of the protocol is answered with. */
export function refusalAnswer(error: LitetopicError, requestId: string): ProblemAnswer {
  const { status, headers } = refusalOf(error)
  const answer = problemAnswer(error, requestId, status)
  return { ...answer, headers: { ...headers, ...answer.headers } }
}

function refusalOf({ code, details }: LitetopicError): Refusal {
  switch (code) {
    case 'PRODUCER_STALE':
      return { status: 403, headers: { 'producer-epoch': String(details.producerEpoch) } }
    case 'PRODUCER_UNKNOWN':
      return gap(0, details.sequence)
    case 'SEQUENCE_GAP':
      // A new epoch of a producer begins with 0: anything else is a mistake, not something lost.
      if (details.producerEpoch !== undefined) return { status: 400, headers: {} }
      return gap(details.expected, details.sequence)
    case 'OFFSET_BEYOND_END':
      return { status: 400, headers: {} }
    default:
      return { status: undefined, headers: {} }
  }
}

function gap(expected: unknown, received: unknown): Refusal {
  const headers = { 'producer-expected-seq': String(expected), 'producer-received-seq': String(received) }
  return { status: undefined, headers }
}

/** The stream was deleted, and its data is kept for its forks. */
export function deleted(name: string): LitetopicError {
  return new LitetopicError('GONE', `${name} was deleted; its forks still have its data`, {
    topic: name,
    outcome: 'gone',
  })
}

/** The same for who would create it anew, or fork it. */
export function stillForked(name: string): LitetopicError {
  const { code, message, details } = deleted(name)
  return new StatusError(409, code, `${message}: choose another name`, details)
}
