/** `litetopic tail`: what a topic says, on standard output, until the topic is over. */

import { isLitetopicError } from '../../protocol/index.ts'
import { jsonLine, write } from './output.ts'
import { observeSession, type RemoteOptions, withBroker } from './remote.ts'
import { TextPrinter } from './text-printer.ts'

export interface TailOptions extends RemoteOptions {
  /** `start`, `live` or a cursor; by default the start. */
  readonly from?: string
  /** Every record as a line of JSON, instead of text. */
  readonly json?: boolean
}

/**
 * Follows the topic without keeping it alive, and resolves when it is deleted or reclaimed. Tokens are written as they are; what
 * else there is to know goes to standard error. Rejects with NOT_FOUND, BAD_CURSOR, or the outcome of a hole: TRIMMED,
 * RECREATED, DIVERGED.
 */
export async function tail(topic: string, options: TailOptions): Promise<void> {
  await withBroker(options, async (broker) => {
    const session = await observeSession(broker, topic)
    const printer = new TextPrinter()
    const records = session.records({ from: options.from ?? 'start' })
    try {
      for await (const record of records) await (options.json ? write(jsonLine(record)) : printer.print(record))
    } catch (error) {
      if (!isLitetopicError(error, 'GONE')) throw error
      console.error(`litetopic: the topic "${topic}" is gone`)
    }
  })
}
