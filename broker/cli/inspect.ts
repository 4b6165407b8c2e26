/** `litetopic inspect`: everything there is to know about one topic but its records. */

import type { CheckpointInfo, Session, StreamInfo, TopicInfo } from '../../client/index.ts'
import { formatDuration } from './duration.ts'
import { formatBytes, formatTime, jsonLine, table, write } from './output.ts'
import { observeSession, type RemoteOptions, withBroker } from './remote.ts'

export interface InspectOptions extends RemoteOptions {
  /** All of it as one line of JSON. */
  readonly json?: boolean
}

/** Values longer than this, in UTF-16 units, are shortened in the text form. */
const SHOWN_LENGTH = 100
/** Checkpoints shown, newest first. */
const CHECKPOINTS = 20

/** What is shown. */
interface Inspection {
  readonly topic: TopicInfo
  readonly streams: readonly StreamInfo[]
  readonly checkpoints: readonly CheckpointInfo[]
  readonly context: Readonly<Record<string, unknown>>
}

/** Prints the topic's state, streams, newest checkpoints and context. Rejects with NOT_FOUND. */
export async function inspect(topic: string, options: InspectOptions): Promise<void> {
  await withBroker(options, async (broker) => {
    const session = await observeSession(broker, topic)
    const found = await look(session)
    await write(options.json ? jsonLine(found) : text(found))
    await session.close()
  })
}

async function look(session: Session): Promise<Inspection> {
  const topic = await session.describe()
  const checkpoints = await session.checkpoints({ limit: CHECKPOINTS })
  const context = Object.fromEntries(await session.context.entries())
  return { topic, streams: topic.streams ?? [], checkpoints, context }
}

function text({ topic, streams, checkpoints, context }: Inspection): string {
  const facts: string[][] = [
    ['topic', topic.name],
    ['epoch', String(topic.epoch)],
    ['records', `${topic.nextOffset - topic.firstOffset} (offsets ${topic.firstOffset} to ${topic.nextOffset - 1})`],
    ['bytes', formatBytes(topic.bytes)],
    ['created', formatTime(topic.createdMs)],
    ['last append', formatTime(topic.lastAppendMs)],
    ['hold', `${topic.hold}${topic.attachments === undefined ? '' : `, attachments: ${topic.attachments}`}`],
    ['linger', formatDuration(topic.lingerMs)],
    ['reclaimed', topic.reclaimAtMs == null ? 'not while it is held' : `at ${formatTime(topic.reclaimAtMs)}`],
    ['residency', topic.residency],
  ]
  const sections = [table(facts, new Set())]
  const add = (title: string, rows: string[][]): void => {
    sections.push(rows.length === 0 ? `${title}: none\n` : `${title}:\n${table(rows, new Set())}`)
  }
  add('streams', streams.map(streamRow))
  add(
    'checkpoints',
    checkpoints.map(({ name, offset, timeMs, state }) => [
      `  ${name}`,
      `offset ${offset}`,
      formatTime(timeMs),
      brief(state),
    ]),
  )
  add(
    'context',
    Object.entries(context).map(([name, value]) => [`  ${name}`, brief(value)]),
  )
  return sections.join('\n')
}

function streamRow(stream: StreamInfo): string[] {
  return [
    `  ${stream.streamId}`,
    stream.live ? `${stream.state}, live` : stream.state,
    `from offset ${stream.openOffset}`,
  ]
}

function brief(value: unknown): string {
  const line = value === undefined ? '' : jsonLine(value).trimEnd()
  return line.length > SHOWN_LENGTH ? `${line.slice(0, SHOWN_LENGTH)}…` : line
}
