/** What becomes of the body of a request: JSON, unless a part of the face takes its bodies as they are. */

import { isUtf8, LitetopicError } from '../../protocol/index.ts'
import type { Face } from './face.ts'
import type { App } from './fastify.ts'

/** Bodies are JSON; any other content type is refused with 415. What would reach into a prototype is refused, too. */
export function jsonBodies(app: App, face: Face): void {
  app.removeAllContentTypeParsers()
  const parse = app.getDefaultJsonParser('error', 'error')
  app.addContentTypeParser('application/json', (request, _payload, done) => {
    face.readBody(request, (error, body) => {
      if (error !== null) done(error)
      else if (!isUtf8(body as Buffer, 0, (body as Buffer).length)) done(notUtf8())
      else void parse(request, (body as Buffer).toString(), done)
    })
  })
}

/** In this part of the face the body of a request is a Buffer, whatever its content type is; the route reads its headers. */
export function rawBodies(app: App, face: Face): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (request, _payload, done) => face.readBody(request, done))
}

/** In this part of the face the body of a request is not read: the route does, from `request.raw`. */
export function streamedBodies(app: App): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _payload, done) => done(null))
}

/** Decoded all the same, it would be another text than the one that was meant. */
function notUtf8(): LitetopicError {
  return new LitetopicError('BAD_REQUEST', 'a body that is not UTF-8, so it is not JSON')
}
