/** `litetopic publish --file`: a whole file becomes one message, whatever its size. */

import { type FileHandle, open } from 'node:fs/promises'
import { Readable } from 'node:stream'
import type { AppendProgress } from '../../client/index.ts'
import { LitetopicError } from '../../protocol/index.ts'
import { formatBytes } from './output.ts'
import { type RemoteOptions, withBroker } from './remote.ts'

/** Between two lines of progress where it cannot be told on one. */
const STEP_PERCENT = 10

/**
 * Appends the file's bytes to the topic, which it creates if need be, as one message. Says on standard error how far it is and where
 * it is stored. Rejects with BAD_REQUEST for what is no file that can be read, BAD_VALUE if it changes meanwhile, and LIMIT_EXCEEDED.
 */
export async function publishFile(topic: string, path: string, options: RemoteOptions): Promise<void> {
  const file = await openFile(path)
  try {
    const { size } = await file.stat()
    const stream = (): ReadableStream<Uint8Array> =>
      Readable.toWeb(file.createReadStream({ autoClose: false })) as ReadableStream<Uint8Array>
    await withBroker(options, async (broker) => {
      const session = await broker.session(topic)
      const { offset } = await session.append({ size, stream }, { onProgress: progressLine(path) })
      console.error(`litetopic: ${path} (${formatBytes(size)}) is stored in ${topic} at offset ${offset}`)
      await session.close()
    })
  } finally {
    await file.close()
  }
}

async function openFile(path: string): Promise<FileHandle> {
  const refuse = (why: string, cause?: unknown): LitetopicError =>
    new LitetopicError('BAD_REQUEST', `the file ${path} cannot be published: ${why}`, {}, cause)
  let file: FileHandle
  try {
    file = await open(path)
  } catch (cause) {
    throw refuse((cause as NodeJS.ErrnoException).code ?? 'it cannot be opened', cause)
  }
  if ((await file.stat()).isFile()) return file
  await file.close()
  throw refuse('it is no file')
}

/** Tells progress on one line of a terminal, else on some lines. */
function progressLine(path: string): (progress: AppendProgress) => void {
  const { stderr } = process
  let told = 0
  return ({ sentBytes, totalBytes }) => {
    const percent = totalBytes === null || totalBytes === 0 ? 100 : Math.floor((sentBytes / totalBytes) * 100)
    if (percent === told || (!stderr.isTTY && percent < told + STEP_PERCENT)) return
    told = percent
    const line = `litetopic: ${path}: ${formatBytes(sentBytes)} of ${formatBytes(totalBytes ?? sentBytes)}, ${percent} %`
    stderr.write(stderr.isTTY ? `\r\x1b[2K${line}${percent === 100 ? '\n' : ''}` : `${line}\n`)
  }
}
