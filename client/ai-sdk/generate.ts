/** Runs one answer of a model into a stream of the session, and its ending once, whoever asks and whatever breaks. */

import { readUIMessageStream, type UIMessage, type UIMessageChunk } from 'ai'
import {
  type Json,
  LitetopicError,
  type OnceOptions,
  type Session,
  type StreamEnd,
  type StreamWriter,
} from '../index.ts'
import { writeChunk } from './chunks.ts'
import { readChunks } from './read.ts'

/** How an answer ended. */
export interface FinishedMessage<M extends UIMessage = UIMessage> {
  readonly streamId: string
  /** `failed` if making it threw; an error that the model reported is a chunk in it. */
  readonly end: StreamEnd
  /** `{ message }` of a failure, `{ reason }` of a stop. */
  readonly detail: Json | undefined
  /** What was thrown, if it was here. */
  readonly error?: unknown
  /** The answer as far as it came; undefined if it did not begin. */
  readonly message: M | undefined
  /** The messages before it, and it. */
  readonly messages: readonly M[]
}

export interface GenerateMessageOptions<M extends UIMessage = UIMessage> {
  /** The messages before the answer. If the last one is of the assistant the answer goes on with it, as in `toUIMessageStream`. */
  readonly originalMessages?: readonly M[]
  /**
   * Called once for the answer, however often it is asked for, when its end is stored. See `Session.once`, whose call
   * `finish/<streamId>` it is: if it throws, that is stored, and not repeated.
   */
  readonly onFinish?: (finished: FinishedMessage<M>) => unknown
  /** If a process was lost within `onFinish`: reject with OUTCOME_UNKNOWN, or call it again. Default `reject`. */
  readonly ifUnknown?: OnceOptions['ifUnknown']
}

/** Gives the chunks, such as those of `streamText(…).toUIMessageStream()`. `signal` is aborted when the answer is stopped. */
export type MakeMessage = (
  signal: AbortSignal,
) => ReadableStream<UIMessageChunk> | PromiseLike<ReadableStream<UIMessageChunk>>

/**
 * Writes the answer into the stream, once, and resolves when it has ended and `onFinish` is over. For an answer that has ended `make`
 * is not called; one that is written elsewhere is waited for; one whose writer is lost is made again, and readers see the new attempt
 * only. Rejects as `Session.generate` and `Session.once` do.
 */
export async function generateMessage<M extends UIMessage = UIMessage>(
  session: Session<unknown>,
  streamId: string,
  make: MakeMessage,
  options: GenerateMessageOptions<M> = {},
): Promise<FinishedMessage<M>> {
  const { originalMessages = [], onFinish, ifUnknown } = options
  const ended = await session.generate(streamId, async (stream, signal) => writeChunks(stream, await make(signal)))
  const message = await messageOf(session, streamId, originalMessages)
  const { end, detail, error } = ended
  const finished = { streamId, end, detail, error, message, messages: joined(originalMessages, message) }
  if (onFinish !== undefined) {
    const call = async (): Promise<void> => void (await onFinish(finished))
    await session.once(`finish/${streamId}`, call, { tool: 'onFinish', ifUnknown })
  }
  return finished
}

/**
 * Writes all chunks of the source into the stream, waiting while there is no room, without ending it. Rejects with the reason of the
 * stream's signal, with BAD_VALUE for a chunk that has no JSON, and with what the source throws; then the source is cancelled.
 */
export async function writeChunks(stream: StreamWriter, source: ReadableStream<UIMessageChunk>): Promise<void> {
  const chunks = source.getReader()
  const cancel = (reason: unknown): void => void chunks.cancel(reason).catch(() => {})
  const aborted = (): void => cancel(stream.signal.reason)
  stream.signal.addEventListener('abort', aborted)
  try {
    for (;;) {
      stream.signal.throwIfAborted()
      const { done, value } = await chunks.read()
      if (done) break
      await writeChunk(stream, value)
    }
    stream.signal.throwIfAborted()
  } catch (error) {
    cancel(error)
    throw error
  } finally {
    stream.signal.removeEventListener('abort', aborted)
  }
}

/** The answer as the AI SDK makes it of the stored chunks. */
async function messageOf<M extends UIMessage>(
  session: Session<unknown>,
  streamId: string,
  originalMessages: readonly M[],
): Promise<M | undefined> {
  const last = originalMessages.at(-1)
  const continued = last?.role === 'assistant' ? structuredClone(last) : undefined
  const failed: unknown[] = []
  const states = readUIMessageStream<M>({
    message: continued,
    stream: readChunks(session, streamId),
    onError: (error) => failed.push(error),
  })
  let message = continued
  for await (const state of states) message = state
  // Errors in the answer are chunks of it; those of reading are not.
  const unreadable = failed.find((error) => error instanceof LitetopicError)
  if (unreadable !== undefined) throw unreadable
  return message
}

function joined<M extends UIMessage>(before: readonly M[], message: M | undefined): readonly M[] {
  if (message === undefined) return before
  return [...(before.at(-1)?.id === message.id ? before.slice(0, -1) : before), message]
}
