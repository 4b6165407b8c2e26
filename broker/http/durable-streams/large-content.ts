/** Content of a large message as the body of a response: fetched part by part as the socket takes it, never held whole. */

import { LIMITS } from '../../../protocol/index.ts'
import type { Caller } from '../caller.ts'
import type { Form } from './media-type.ts'
import type { LargeContent } from './page.ts'

/** Bytes that become whole groups of base64. */
const BASE64_GROUP = 3

/** Bytes of the body, where they are known before the content is. */
export function largeSize({ tag, size }: LargeContent, form: Form): number | null {
  if (form !== 'json') return size
  if (tag === 'json') return size + 2
  return tag === 'bytes' ? Math.ceil(size / BASE64_GROUP) * 4 + 4 : null
}

/** The body. Rejects with GONE, TRIMMED or STORE_CORRUPT. */
export async function* largeContent(caller: Caller, large: LargeContent, form: Form): AsyncGenerator<Uint8Array> {
  if (form === 'json') yield* wrapped('[', largeData(caller, large, form), ']')
  else yield* largeData(caller, large, form)
}

/** The same without the brackets of a list: as one element of it. */
export async function* largeData(caller: Caller, large: LargeContent, form: Form): AsyncGenerator<Uint8Array> {
  if (form !== 'json' || large.tag === 'json') yield* parts(caller, large)
  else if (large.tag === 'text') yield* wrapped('"', escaped(parts(caller, large)), '"')
  else yield* wrapped('"', base64(parts(caller, large)), '"')
}

async function* parts(caller: Caller, { offset, size }: LargeContent): AsyncGenerator<Uint8Array> {
  for (let from = 0; from < size; ) {
    const { reply, taken } = await caller.fetch({ offset, from, maxBytes: LIMITS.partBytes })
    from += reply.bytes.length
    try {
      yield reply.bytes
    } finally {
      taken()
    }
  }
}

async function* wrapped(
  before: string,
  content: AsyncIterable<Uint8Array>,
  behind: string,
): AsyncGenerator<Uint8Array> {
  yield Buffer.from(before)
  yield* content
  yield Buffer.from(behind)
}

/** UTF-8 as the inside of a JSON string. */
async function* escaped(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  for await (const piece of content) {
    yield Buffer.from(JSON.stringify(decoder.decode(piece, { stream: true })).slice(1, -1))
  }
}

/** Bytes as base64, cut only where it may be. */
export async function* base64(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let rest = Buffer.alloc(0)
  for await (const piece of content) {
    const bytes = Buffer.concat([rest, piece])
    const whole = bytes.length - (bytes.length % BASE64_GROUP)
    rest = Buffer.from(bytes.subarray(whole))
    yield Buffer.from(bytes.toString('base64', 0, whole))
  }
  yield Buffer.from(rest.toString('base64'))
}
