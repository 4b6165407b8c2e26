/** The body of a request, collected up to a bound. A body that is cut off never becomes an append. */

import type { IncomingMessage } from 'node:http'
import { LitetopicError } from '../../../protocol/index.ts'

/** Rejects with LIMIT_EXCEEDED beyond `maxBytes`, with CONNECTION_CLOSED if it ends before its end. */
export function collectBody(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const announced = Number(request.headers['content-length'] ?? 0)
    if (announced > maxBytes) {
      reject(tooLarge(maxBytes))
      return
    }
    const pieces: Buffer[] = []
    let size = 0
    request.on('data', (piece: Buffer) => {
      size += piece.length
      if (size <= maxBytes) pieces.push(piece)
      else {
        pieces.length = 0
        reject(tooLarge(maxBytes))
      }
    })
    request.once('end', () => resolve(pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces, size)))
    const cutOff = (): void => reject(new LitetopicError('CONNECTION_CLOSED', 'the body was cut off before its end'))
    request.once('error', cutOff)
    request.once('close', cutOff)
  })
}

function tooLarge(bound: number): LitetopicError {
  return new LitetopicError('LIMIT_EXCEEDED', `the body may have ${bound} bytes at most`, {
    limit: 'httpBodyBytes',
    bound,
  })
}
