/** Compression of JSON answers, for who accepts it and where it pays. Live streams never come this way: they are sent piece by piece. */

import { promisify } from 'node:util'
import { brotliCompress, constants, gzip } from 'node:zlib'
import { LIMITS } from '../../protocol/index.ts'
import type { Reply, Request } from './fastify.ts'

const asGzip = promisify(gzip)
const asBrotli = promisify(brotliCompress)
/** Takes about as long as gzip, and gives less. */
const BROTLI = {
  params: { [constants.BROTLI_PARAM_QUALITY]: 4, [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT },
}

type Encoding = 'br' | 'gzip'

/**
 * The payload as the client accepts it: as it is, or compressed. One with an ETag stays as it is, because the tag is that of these
 * bytes.
 */
export async function compressed(request: Request, reply: Reply, payload: unknown): Promise<unknown> {
  if (typeof payload !== 'string' && !Buffer.isBuffer(payload)) return payload
  const type = reply.getHeader('content-type')
  if (typeof type !== 'string' || !/^application\/(?:[\w.-]+\+)?(?:json|x-ndjson)\b/.test(type)) return payload
  if (reply.hasHeader('content-encoding') || reply.hasHeader('etag')) return payload
  reply.header('vary', 'accept-encoding')
  const encoding = encodingFor(request.headers['accept-encoding'])
  if (encoding === null || payload.length < LIMITS.httpCompressBytes) return payload
  reply.header('content-encoding', encoding).removeHeader('content-length')
  return encoding === 'br' ? asBrotli(payload, BROTLI) : asGzip(payload)
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
