/** What comes and is no HTTP, or too much of it: there is no request yet that a route could answer. */

import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import { LIMITS, LitetopicError } from '../../protocol/index.ts'
import { PROBLEM_TYPE, problemOf, StatusError } from './problem.ts'

const REASONS: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large',
}

/** Answers with a problem document, and closes the connection. */
export function answerUnreadable(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const id = randomUUID()
  const { status, ...problem } = problemOf(faultOf(error.code), id)
  const body = JSON.stringify({ status, ...problem })
  const head = [
    `HTTP/1.1 ${status} ${REASONS[status]}`,
    `Content-Type: ${PROBLEM_TYPE}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    `X-Request-Id: ${id}`,
    'Connection: close',
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`)
}

function faultOf(code: string | undefined): LitetopicError {
  if (code === 'HPE_HEADER_OVERFLOW') {
    const details = { limit: 'httpHeaderBytes', bound: LIMITS.httpHeaderBytes }
    return new StatusError(431, 'LIMIT_EXCEEDED', 'the request line and headers are too large', details)
  }
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    const details = { limit: 'httpHeaderMs', bound: LIMITS.httpHeaderMs }
    return new StatusError(408, 'LIMIT_EXCEEDED', 'the headers of the request took too long to come', details)
  }
  return new LitetopicError('BAD_REQUEST', 'what came is not HTTP/1.1', { reason: code ?? null })
}
