/** `litetopic inspect`: everything there is to know about one topic but its records. */

import {
  CALL_PARTS,
  CALL_PREFIX,
  type Checkpoint,
  type ResumedStream,
  type Session,
  type TopicInfo,
} from '../../client/index.ts'
import { formatDuration } from './duration.ts'
import { formatBytes, formatTime, jsonLine, table, write } from './output.ts'
import { firstCursor, observeSession, type RemoteOptions, withBroker } from './remote.ts'

export interface InspectOptions extends RemoteOptions {
  /** All of it as one line of JSON. */
  readonly json?: boolean
}

/** Values longer than this, in UTF-16 units, are shortened in the text form. */
const SHOWN_LENGTH = 100
/** Checkpoints shown, newest first. */
const CHECKPOINTS = 20

/** A stream, ended or not. */
interface StreamSummary {
  readonly id: string
  readonly state: string
  readonly live: boolean
  readonly detail: unknown
  /** Length of each part's text in UTF-16 units; null if the topic holds too much to say. */
  readonly lengths: Readonly<Record<string, number>> | null
}

/** A call that runs once: see `Session.once`. */
interface CallSummary {
  readonly id: string
  /** `done`, `failed`, `stopped`, `running`, or `unknown` if it was cut off. */
  readonly state: string
  readonly tool?: unknown
  readonly input?: unknown
  readonly output?: unknown
  /** What it threw, or why it was stopped. */
  readonly detail?: unknown
}

/** What is shown. */
interface Inspection {
  readonly topic: TopicInfo
  readonly streams: readonly StreamSummary[]
  readonly calls: readonly CallSummary[]
  readonly checkpoints: readonly Checkpoint[]
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
  // Seen from the first record kept, every stream is there, also those that have ended.
  const cursor = firstCursor(session, topic)
  const { streams, partial } = await session.resume({ cursor })
  return {
    topic,
    streams: streams.filter(({ id }) => !isCall(id)).map((stream) => summary(stream, partial)),
    calls: streams.filter(({ id }) => isCall(id)).map((stream) => call(stream, partial)),
    checkpoints,
    context,
  }
}

function isCall(streamId: string): boolean {
  return streamId.startsWith(CALL_PREFIX)
}

function call({ id, state, live, detail, parts }: ResumedStream, partial: boolean): CallSummary {
  const isOver = state === 'done' || state === 'failed' || state === 'stopped'
  const partOf = (part: string): unknown => (partial ? undefined : parsed(parts.get(part)))
  return {
    id: id.slice(CALL_PREFIX.length),
    state: isOver ? state : live ? 'running' : 'unknown',
    tool: partOf(CALL_PARTS.tool),
    input: partOf(CALL_PARTS.input),
    output: partOf(CALL_PARTS.output),
    detail,
  }
}

/** JSON that may be cut off, or not of this client: then as it is. */
function parsed(text: string | undefined): unknown {
  if (text === undefined) return undefined
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

function summary({ id, state, live, detail, parts }: ResumedStream, partial: boolean): StreamSummary {
  const lengths = Object.fromEntries([...parts].map(([part, text]) => [part, text.length]))
  return { id, state, live, detail, lengths: partial ? null : lengths }
}

function text({ topic, streams, calls, checkpoints, context }: Inspection): string {
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
    ...(topic.forkedFrom ? [['forked from', `${topic.forkedFrom.name}, at offset ${topic.forkedFrom.offset}`]] : []),
    ...(topic.exclusive === true ? [['exclusive', 'a session has it for itself']] : []),
  ]
  const sections = [table(facts, new Set())]
  const add = (title: string, rows: string[][]): void => {
    sections.push(rows.length === 0 ? `${title}: none\n` : `${title}:\n${table(rows, new Set())}`)
  }
  add('streams', streams.map(streamRow))
  if (calls.length > 0) add('calls', calls.map(callRow))
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

function streamRow({ id, state, live, lengths }: StreamSummary): string[] {
  const parts = Object.entries(lengths ?? {}).map(([part, length]) => `${part}: ${length} characters`)
  return [`  ${id}`, live ? `${state}, live` : state, parts.join(', ')]
}

function callRow({ id, state, tool, input, output, detail }: CallSummary): string[] {
  const result = output === undefined ? detail : output
  const called = `${tool === undefined ? '' : String(tool)}(${brief(input)})`
  return [`  ${id}`, state, called, result === undefined ? '' : `→ ${brief(result)}`]
}

function brief(value: unknown): string {
  const line = value === undefined ? '' : jsonLine(value).trimEnd()
  return line.length > SHOWN_LENGTH ? `${line.slice(0, SHOWN_LENGTH)}…` : line
}
