/** `litetopic pin`: has a topic stay after its last connection is gone, for ever or for as long as is said. */

import { formatDuration } from './duration.ts'
import { jsonLine, write } from './output.ts'
import { observeSession, type RemoteOptions, withBroker } from './remote.ts'

export interface PinOptions extends RemoteOptions {
  /** Milliseconds after its last connection; by default for ever. */
  readonly linger?: number | 'forever'
  /** The policy as a line of JSON. */
  readonly json?: boolean
}

/** Rejects with NOT_FOUND or BAD_NAME. */
export async function pin(topic: string, options: PinOptions): Promise<void> {
  await withBroker(options, async (broker) => {
    const session = await observeSession(broker, topic)
    const policy = await session.policy({ lingerMs: options.linger ?? 'forever' })
    const stays = formatDuration(policy.lingerMs ?? 'forever')
    const text =
      stays === 'forever'
        ? `${topic} stays until it is deleted\n`
        : `${topic} outlives its last connection by ${stays}\n`
    await write(options.json ? jsonLine({ topic, ...policy }) : text)
    await session.close()
  })
}
