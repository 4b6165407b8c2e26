/** What comes and is no HTTP, or too much of it: there is no request yet that a route could answer. */

import { randomUUID } from 'node:crypto'
import { type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { LIMITS, LitetopicError } from '../../protocol/index.ts'
import { fixedHeaders } from './fixed-headers.ts'
import { problemAnswer, StatusError } from './problem.ts'

/**
 * Answers with a problem document, and closes the connection, whatever its client does: nothing that it began is held any longer.
 * Where an answer to an earlier request is on its way, or nobody takes what was sent, there is no place for it.
 */
export function answerUnreadable(error: Error & { code?: string }, socket: Socket): void {
  const begun = answerOn(socket)?.headersSent ?? false
  if (error.code === 'ECONNRESET' || !socket.writable || begun || socket.writableLength > 0) {
    socket.destroy()
    return
  }
  refuseOn(socket, faultOf(error.code))
}

/** Answers on a socket that no response has, and closes it. */
export function refuseOn(socket: Duplex, error: LitetopicError): void {
  const id = randomUUID()
  const { status, headers, body } = problemAnswer(error, id)
  const all = { ...fixedHeaders(id), ...headers, 'content-length': body.length, connection: 'close' }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}`)
  // It is followed by the close.
  socket.on('error', () => undefined)
  socket.write(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('\r\n')}\r\n\r\n`)
  socket.end(body, () => socket.destroy())
}

/** The response that has the socket now; null between two requests. node:http says it in no other way. */
export function answerOn(socket: Duplex): ServerResponse | null {
  return (socket as Duplex & { _httpMessage?: ServerResponse | null })._httpMessage ?? null
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
