/** Compression of JSON answers, for who accepts it and where it pays. Live streams never come this way: they are sent piece by piece. */

import { brotliCompress, constants, gzip } from 'node:zlib'
import { LIMITS } from '../../protocol/index.ts'
import { addVary } from './cors.ts'
import type { Reply, Request } from './fastify.ts'

/** Takes about as long as gzip, and gives less. */
const BROTLI = {
  params: { [constants.BROTLI_PARAM_QUALITY]: 4, [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT },
}

type Encoding = 'br' | 'gzip'

/**
 * Hands on the payload as the client accepts it: at once as it is, or compressed. One with a strong ETag stays as it is, because the tag is
 * that of these bytes.
 */
export function compressed(
  request: Request,
  reply: Reply,
  payload: unknown,
  done: (error: Error | null, payload?: unknown) => void,
): void {
  const encoding = isJson(reply, payload) ? encodingFor(request.headers['accept-encoding']) : null
  if (encoding === null) {
    done(null, payload)
    return
  }
  reply.header('content-encoding', encoding).removeHeader('content-length')
  if (encoding === 'br') brotliCompress(payload as string | Buffer, BROTLI, done)
  else gzip(payload as string | Buffer, done)
}

/** Is it worth it? If only its size speaks against it, other answers of the route may be compressed. */
function isJson(reply: Reply, payload: unknown): boolean {
  if (typeof payload !== 'string' && !Buffer.isBuffer(payload)) return false
  if (reply.hasHeader('content-encoding') || hasStrongTag(reply)) return false
  const type = reply.getHeader('content-type')
  if (typeof type !== 'string' || !/^application\/(?:[\w.-]+\+)?(?:json|x-ndjson)\b/.test(type)) return false
  addVary(reply, 'accept-encoding')
  return payload.length >= LIMITS.httpCompressBytes
}

/** A weak one is that of what is meant, in whatever encoding. */
function hasStrongTag(reply: Reply): boolean {
  const tag = reply.getHeader('etag')
  return typeof tag === 'string' && !tag.startsWith('W/')
}

/** The best of those accepted, by RFC 9110: a weight of 0 refuses. */
export function encodingFor(accepted: string | undefined): Encoding | null {
  if (accepted === undefined) return null
  const weights = new Map<string, number>()
  for (const item of accepted.toLowerCase().split(',')) {
    const [name = '', ...parameters] = item.split(';').map((text) => text.trim())
    const weight = parameters.find((parameter) => parameter.startsWith('q='))
    weights.set(name, weight === undefined ? 1 : Number(weight.slice(2)))
  }
  const weightOf = (name: Encoding): number => weights.get(name) ?? weights.get('*') ?? 0
  const [br, gz] = [weightOf('br'), weightOf('gzip')]
  if (!(br > 0) && !(gz > 0)) return null
  return br >= gz ? 'br' : 'gzip'
}
