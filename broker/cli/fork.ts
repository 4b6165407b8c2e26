/** `litetopic fork`: a topic of its own that begins with what another one has up to some point. */

import { jsonLine, write } from './output.ts'
import { observeSession, type RemoteOptions, withBroker } from './remote.ts'

export interface ForkOptions extends RemoteOptions {
  /** A cursor; by default the end. */
  readonly at?: string
  /** In place of `at`: the newest checkpoint of that name, or `latest`. */
  readonly checkpoint?: string
  /** The fork as a line of JSON. */
  readonly json?: boolean
}

/** Rejects with NOT_FOUND, TOPIC_EXISTS, CHECKPOINT_UNKNOWN, BAD_CURSOR or BAD_NAME. */
export async function fork(topic: string, as: string, options: ForkOptions): Promise<void> {
  await withBroker(options, async (broker) => {
    const session = await observeSession(broker, topic)
    const point = options.checkpoint === undefined ? options.at : { checkpoint: options.checkpoint }
    const made = await session.fork({ as, ...(point !== undefined && { at: point }) })
    const { name, forkedFrom } = await made.describe()
    await write(
      options.json
        ? jsonLine({ name, forkedFrom })
        : `${name} begins with the first ${forkedFrom?.offset ?? 0} records of ${topic}\n`,
    )
    await made.close()
    await session.close()
  })
}
