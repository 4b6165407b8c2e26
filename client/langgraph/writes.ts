/**
 * What tasks have written on top of a checkpoint, before the next one is there. All of a checkpoint is one entry, to which each call
 * appends a line: nothing is read before it, so that tasks that end at the same time do not wait for each other.
 */

import { type CheckpointPendingWrite, type SerializerProtocol, WRITES_IDX_MAP } from '@langchain/langgraph-checkpoint'
import type { Json, Session } from '../index.ts'
import { largeWritesName, writesName } from './names.ts'
import { changesOf, type Dumped, load, sized, store } from './values.ts'

/** What is more lies in an entry of its own: an answer of the broker holds the lines of thousands of tasks. */
const INLINE_BYTES = 200

interface Line {
  readonly task: string
  /** A list of [channel, value], as the serializer has it. */
  readonly writes?: Json
  /** Or the end of the name of the entry that has it. */
  readonly in?: string
}

/** Stores what one call has written, all or nothing. */
export async function storeWrites(
  session: Session,
  ns: string,
  checkpointId: string,
  task: string,
  dumped: Dumped,
): Promise<void> {
  const [type, data] = dumped
  const isInline = type === 'json' && data.length <= INLINE_BYTES
  const unique = crypto.randomUUID()
  const line: Line = isInline ? { task, writes: JSON.parse(new TextDecoder().decode(data)) } : { task, in: unique }
  const text = `${JSON.stringify(line)}\n`
  const append = sized({ op: 'append', name: writesName(ns, checkpointId), value: text }, text.length * 3)
  const before = isInline ? [] : changesOf(largeWritesName(ns, checkpointId, unique), dumped)
  await store(session, [...before, append])
}

/** All that was written, in the order of the log: of a task's write the first counts, of its errors and interrupts the last. */
export async function writesOn(
  session: Session,
  serde: SerializerProtocol,
  ns: string,
  checkpointId: string,
): Promise<CheckpointPendingWrite[]> {
  const entry = await session.context.get(writesName(ns, checkpointId))
  if (typeof entry !== 'string') return []
  const lines = entry.split('\n').filter((line) => line !== '')
  const calls = await Promise.all(
    lines.map(async (text) => {
      const { task, writes, in: unique } = JSON.parse(text) as Line
      const found =
        unique === undefined
          ? await serde.loadsTyped('json', JSON.stringify(writes))
          : (await load(session, serde, largeWritesName(ns, checkpointId, unique)))?.value
      return { task, writes: found as [channel: string, value: unknown][] }
    }),
  )
  const kept = new Map<string, CheckpointPendingWrite>()
  for (const { task, writes } of calls) {
    writes.forEach(([channel, value], i) => {
      const index = WRITES_IDX_MAP[channel] ?? i
      const key = `${task},${index}`
      if (index < 0 || !kept.has(key)) kept.set(key, [task, channel, value])
    })
  }
  return [...kept.values()]
}
