/** `litetopic publish`: standard input becomes a token stream, as it comes. */

import { randomBytes } from 'node:crypto'
import { cut, readRecording, type Token } from '../../client/demo/index.ts'
import type { StreamWriter } from '../../client/index.ts'
import { isLitetopicError, LitetopicError } from '../../protocol/index.ts'
import { type RemoteOptions, withBroker } from './remote.ts'

/** `text`: what comes is the text. `auto`: a model's recorded stream is recognised and its deltas are published. */
export type PublishFormat = 'text' | 'auto'

export interface PublishOptions extends RemoteOptions {
  /** Id of the stream; by default a new one. */
  readonly stream?: string
  /** Part of the tokens of plain text; by default `text`. */
  readonly part?: string
  readonly format?: PublishFormat
}

/** A token of plain text is as long as what came at once, up to this. In UTF-16 units. */
const TOKEN_MAX_LENGTH = 4096

/**
 * Publishes `input` to the topic, which it creates if need be, as one stream, and ends it as `done` at the end of the input or
 * as `failed` if the input breaks. Says on standard error which stream, and which offsets. Rejects with STREAM_EXISTS, and with
 * BAD_VALUE for input that is not UTF-8.
 */
export async function publish(
  topic: string,
  options: PublishOptions,
  input: AsyncIterable<Uint8Array> = process.stdin,
): Promise<void> {
  await withBroker(options, async (broker) => {
    const session = await broker.session(topic)
    const id = options.stream ?? `stream-${randomBytes(6).toString('hex')}`
    const stream = await session.openStream(id)
    console.error(`litetopic: stream ${id} of ${topic} is open at offset ${stream.fence}`)
    const tokens = options.format === 'auto' ? readRecording(input) : plainTokens(input, options.part)
    const count = await writeAll(stream, tokens)
    const { offset } = await stream.end()
    console.error(`litetopic: stream ${id} is done: ${count} tokens, offsets ${stream.fence} to ${offset}`)
    await session.close()
  })
}

async function writeAll(stream: StreamWriter, tokens: AsyncIterable<Token>): Promise<number> {
  let count = 0
  try {
    for await (const token of tokens) {
      if (stream.signal.aborted) throw stream.signal.reason
      if (!stream.write(token.text, { part: token.part })) await stream.ready
      count++
    }
    return count
  } catch (error) {
    if (!stream.signal.aborted) await stream.fail(error)
    throw error
  }
}

async function* plainTokens(input: AsyncIterable<Uint8Array>, part = 'text'): AsyncGenerator<Token> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  const decode = (chunk?: Uint8Array): Token[] => {
    const text = decoder.decode(chunk, { stream: chunk !== undefined })
    return text === '' ? [] : cut(text, TOKEN_MAX_LENGTH).map((piece) => ({ part, text: piece }))
  }
  try {
    for await (const chunk of input) yield* decode(chunk)
    yield* decode()
  } catch (error) {
    if (isLitetopicError(error) || !(error instanceof TypeError)) throw error
    throw new LitetopicError('BAD_VALUE', 'the input is not UTF-8 text', {}, error)
  }
}
