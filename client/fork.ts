/** Forking a session: asks the broker for a topic that shares this one's records, and attaches to it. */

import { checkTopicName, type PolicyInfo, UP } from '../protocol/index.ts'
import { Attachment } from './attachment.ts'
import { randomId } from './random-id.ts'
import { fromInfo } from './reader.ts'

/** A cursor, such as that of a checkpoint or of an append; or the newest checkpoint of a name, where `latest` is the newest of all. */
export type ForkPoint = string | { readonly cursor: string } | { readonly checkpoint: string }

export interface ForkOptions {
  /** Name of the fork. */
  readonly as: string
  /** Records before it are shared; of a checkpoint, up to and with it. Default: the end, once all is durable that this session has written. */
  readonly at?: ForkPoint
  /** How long the fork and its own records are kept. Default: as this topic was told to be. */
  readonly policy?: PolicyInfo
}

/** Resolves with an attachment to the fork. */
export async function forkOf(attachment: Attachment, options: ForkOptions): Promise<Attachment> {
  const { policy } = options
  const as = checkTopicName(options.as)
  const at = options.at === undefined ? undefined : fromInfo(options.at)
  const { connection, name, epoch: parent } = attachment
  if (at === undefined) {
    const error = await attachment.drained()
    if (error !== undefined) throw error
  }
  // Asked twice, because the answer was lost, it finds the fork that there is.
  const { epoch } = await attachment.ask(UP.fork, (request) => [
    UP.fork,
    request,
    name,
    as,
    { at, epoch: parent, policy },
  ])
  const fork = new Attachment(connection, as, { create: false, epoch, producer: randomId() })
  await fork.open()
  return fork
}
