/**
 * Responses that go out in one write. Of an answer with a body Node makes two pieces and a gathered write of them, which takes the
 * server as long again as all else it does for a small answer.
 */

import { ServerResponse } from 'node:http'

/** Larger bodies are not worth a copy. */
const ONE_WRITE_BYTES = 16 * 1024

/** What Node keeps of a response whose head is written and not sent yet; see its lib/_http_outgoing.js. */
interface Head {
  _header: unknown
  readonly _headerSent: unknown
  readonly _hasBody: unknown
  readonly chunkedEncoding: unknown
}

export class OneWriteResponse extends ServerResponse {
  /** As that of Node; a small body goes with its head, byte for byte as characters, as Node sends heads. */
  override end(chunk?: unknown, encoding?: unknown, done?: unknown): this {
    const head = this as unknown as Head
    const isWhole = typeof head._header === 'string' && head._headerSent === false && head.chunkedEncoding === false
    const body = isWhole && head._hasBody === true ? asCharacters(chunk, encoding) : null
    if (body === null) return super.end(chunk as string, encoding as BufferEncoding, done as () => void)
    head._header += body
    return super.end((typeof encoding === 'function' ? encoding : done) as () => void)
  }
}

function asCharacters(chunk: unknown, encoding: unknown): string | null {
  if (typeof chunk === 'string') return encoding === 'latin1' && chunk.length <= ONE_WRITE_BYTES ? chunk : null
  return Buffer.isBuffer(chunk) && chunk.length <= ONE_WRITE_BYTES ? chunk.toString('latin1') : null
}
