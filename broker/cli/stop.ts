/** `litetopic stop`: ends a stream of a topic, or all that are open, whoever writes them. */

import { jsonLine, write } from './output.ts'
import { observeSession, type RemoteOptions, withBroker } from './remote.ts'

export interface StopOptions extends RemoteOptions {
  /** For the writers, and in the record of the end. */
  readonly reason?: string
  /** Each stream as a line of JSON. */
  readonly json?: boolean
}

/** Prints each stream and how it has ended, be it before. One that is not there yet is born stopped. Rejects with NOT_FOUND or BAD_NAME. */
export async function stop(topic: string, streamId: string | undefined, options: StopOptions): Promise<void> {
  await withBroker(options, async (broker) => {
    const session = await observeSession(broker, topic)
    const streams = await session.stop(streamId, options.reason === undefined ? {} : { reason: options.reason })
    for (const stream of streams) await write(options.json ? jsonLine(stream) : `${stream.streamId} ${stream.state}\n`)
    if (streams.length === 0) console.error(`litetopic: no stream of "${topic}" is open`)
    await session.close()
  })
}
