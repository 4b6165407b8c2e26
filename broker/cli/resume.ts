/** `litetopic resume`: where a session stands, as an agent that comes back sees it, and from there on live. */

import type { Resumed, ResumeFrom, Session, Value } from '../../client/index.ts'
import { isLitetopicError } from '../../protocol/index.ts'
import { jsonLine, write } from './output.ts'
import { firstCursor, observeSession, type RemoteOptions, withBroker } from './remote.ts'
import { TextPrinter } from './text-printer.ts'

export interface ResumeOptions extends RemoteOptions {
  /** Name of a checkpoint; by default the newest of all. */
  readonly checkpoint?: string
  /** In place of a checkpoint: a cursor, such as that of a record of `tail --json`. */
  readonly cursor?: string
  /** Ends when it has said where the session stands. */
  readonly once?: boolean
  /** Everything as lines of JSON: first where it stands, then the records. */
  readonly json?: boolean
}

/**
 * Prints outcome, checkpoint, context and the streams with their text so far, then follows the topic until it is gone. Rejects with
 * NOT_FOUND, CHECKPOINT_UNKNOWN or BAD_CURSOR; an outcome that cannot be gone on from rejects with its code.
 */
export async function resume(topic: string, options: ResumeOptions): Promise<void> {
  await withBroker(options, async (broker) => {
    const session = await observeSession(broker, topic)
    const resumed = await session.resume(await place(session, options))
    await (options.json ? write(await asJson(resumed)) : print(resumed))
    const records = resumed.records()
    if (options.once === true) return
    const printer = new TextPrinter()
    try {
      for await (const record of records) await (options.json ? write(jsonLine(record)) : printer.print(record))
    } catch (error) {
      if (!isLitetopicError(error, 'GONE')) throw error
      console.error(`litetopic: the topic "${topic}" is gone`)
    }
  })
}

type Found = Resumed<Value>

/** What the options say; else the newest checkpoint, or the beginning of a topic that has none. */
async function place(session: Session, { cursor, checkpoint }: ResumeOptions): Promise<ResumeFrom> {
  if (cursor !== undefined) return { cursor }
  if (checkpoint !== undefined) return { checkpoint }
  const [newest] = await session.checkpoints({ limit: 1 })
  return newest === undefined ? { cursor: firstCursor(session, await session.describe()) } : {}
}

async function asJson({
  outcome,
  cursor,
  firstOffset,
  nextOffset,
  commonOffset,
  checkpoint,
  ...rest
}: Found): Promise<string> {
  const context: Record<string, unknown> = {}
  for await (const [name, value] of rest.entries()) context[name] = value
  const streams = await Promise.all(
    rest.streams.map(async (stream) => ({ ...facts(stream), parts: await partsOf(stream) })),
  )
  return jsonLine({ outcome, cursor, firstOffset, nextOffset, commonOffset, checkpoint, context, streams })
}

async function print(resumed: Found): Promise<void> {
  const { checkpoint, outcome } = resumed
  const from = checkpoint === null ? '' : ` from checkpoint ${checkpoint.name}, ${jsonLine(checkpoint.state).trimEnd()}`
  console.error(`-- ${outcome}${from}`)
  for await (const [name, value] of resumed.entries()) console.error(`-- context ${name}: ${jsonLine(value).trimEnd()}`)
  for (const stream of resumed.streams) {
    const { id, state, live } = facts(stream)
    console.error(`-- stream ${id} ${state}${live ? ', live' : ''}`)
    for (const [part, text] of Object.entries(await partsOf(stream))) {
      console.error(`-- stream ${id}, part ${part}`)
      await write(`${text}\n`)
    }
  }
}

function facts({ id, state, live, detail }: Found['streams'][number]) {
  return { id, state, live, detail }
}

async function partsOf(stream: Found['streams'][number]): Promise<Record<string, string>> {
  const parts: Record<string, string> = {}
  for await (const { part, text } of stream.pieces()) parts[part] = (parts[part] ?? '') + text
  return parts
}
