/** `litetopic delete`: deletes a topic with all that is in it. */

import { LitetopicError } from '../../protocol/index.ts'
import { jsonLine, write } from './output.ts'
import { type RemoteOptions, withBroker } from './remote.ts'

export interface DeleteOptions extends RemoteOptions {
  /** What was deleted, as a line of JSON. */
  readonly json?: boolean
}

/** Who is attached is told. Rejects with NOT_FOUND or BAD_NAME. */
export async function deleteTopic(topic: string, options: DeleteOptions): Promise<void> {
  await withBroker(options, async (broker) => {
    if (!(await broker.delete(topic))) throw new LitetopicError('NOT_FOUND', `there is no topic "${topic}"`, { topic })
    await write(options.json ? jsonLine({ deleted: topic }) : `${topic} is deleted\n`)
  })
}
