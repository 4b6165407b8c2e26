/**
 * The demo's story: a reply is streamed, its agent dies, another one takes over, the broker dies and comes back, and the
 * reader misses nothing. Every claim made is measured here; one that is not true ends the demo with `Untrue`.
 */

import { writeFile } from 'node:fs/promises'
import { isLitetopicError } from '../../protocol/index.ts'
import { type Broker, connect } from '../index.ts'
import { dataBytes, formatBytes } from './disk.ts'
import type { AgentRole, ReaderReport } from './messages.ts'
import type { Narrator } from './narrator.ts'
import { lookFor } from './pace.ts'
import type { Cast, Child } from './processes.ts'
import { firstDifference, type Spool } from './spool.ts'

const TOPIC = 'demo/reply'
const STREAM = 'reply-1'
/** Where in the reply the agent and the broker are killed. */
const AGENT_DIES_AT = 1 / 3
const BROKER_DIES_AT = 2 / 3
/** Idle time after which the broker gives space back; by default 10 s, which is long for a demo. */
const BROKER_QUIET = '1s'
/** The space must be back by then, but for a block of the store's own. */
const SPACE_BACK_MS = 10_000
const LEFT_MAX_BYTES = 2048
/** Parts listed one by one. */
const PARTS_SHOWN = 8
const LISTENING = /^litetopic listening on (ws:\/\/\S+)/

/** A promise of litetopic that did not hold. */
export class Untrue extends Error {}

/** What the story plays with. */
export interface Stage {
  readonly cast: Cast
  readonly narrator: Narrator
  readonly spool: Spool
  /** The broker's data, and what the reader has received. */
  readonly dataDirectory: string
  readonly receivedDirectory: string
  /** Where to put the broker's configuration. */
  readonly configPath: string
}

interface RunningBroker {
  readonly process: Child
  readonly url: string
  readonly port: number
}

/** Plays it all. Throws Untrue if a promise does not hold. */
export async function playStory(stage: Stage): Promise<void> {
  const { cast, narrator, spool } = stage
  narrator.step('A broker starts on an empty directory.')
  const broker = await startBroker(stage, 0)
  narrator.fact(`process ${broker.process.pid} listens on ${broker.url}`)

  const role = { url: broker.url, topic: TOPIC, streamId: STREAM }
  narrator.step(`A reader opens the session "${TOPIC}", and an agent streams its reply "${STREAM}" into it.`)
  const reader = cast.startReader({ ...role, directory: stage.receivedDirectory })
  reader.onMessage((message) => {
    if (message.type === 'progress') narrator.progress(message.tokens, spool.tokens, message.text ?? '')
  })
  const agentRole = { ...role, tokensPath: spool.tokensPath, tokens: spool.tokens }
  const first = cast.startAgent(agentRole)
  await readerHas(reader, Math.floor(spool.tokens * AGENT_DIES_AT))

  const second = await replaceAgent(stage, first, agentRole)
  await readerHas(reader, Math.floor(spool.tokens * BROKER_DIES_AT))

  const revived = await replaceBroker(stage, broker, [reader, second])
  second.send('finish')
  const { end } = await second.message('published')
  if (end !== 'done') throw new Untrue(`the stream ended as "${end}", not as "done"`)
  const { report } = await reader.message('report')
  await compare(stage, report)
  await reclaim(stage, revived, [reader, second])
}

async function startBroker(stage: Stage, port: number): Promise<RunningBroker> {
  await writeFile(stage.configPath, JSON.stringify({ quiet: BROKER_QUIET }))
  const args = ['serve', '--config', stage.configPath, '--host', '127.0.0.1', '--port', String(port)]
  args.push('--data', stage.dataDirectory)
  const child = stage.cast.startCommand('broker', args)
  const found = LISTENING.exec(await child.firstLine)
  if (found === null) throw new Error('the broker did not say where it listens')
  const url = found[1] as string
  return { process: child, url, port: Number(new URL(url).port) }
}

async function readerHas(reader: Child, tokens: number): Promise<void> {
  await reader.message('progress', (message) => message.tokens >= tokens)
}

async function replaceAgent(stage: Stage, first: Child, role: AgentRole): Promise<Child> {
  const { cast, narrator } = stage
  await first.end('SIGKILL')
  narrator.step(`The agent is killed in the middle of the reply (SIGKILL, process ${first.pid}).`)
  const second = cast.startAgent(role)
  narrator.fact(`the same program starts again as process ${second.pid} and asks the broker where it was`)
  const found = await second.message('resumed')
  if (!found.takenOver) throw new Untrue('the second agent did not take over the stream of the first')
  const { checkpointTokens, durableTokens } = found
  const checkpoint =
    checkpointTokens === null ? 'there is no checkpoint' : `the newest checkpoint says ${checkpointTokens}`
  narrator.fact(`answer: ${checkpoint}, and the log holds ${plural(durableTokens, 'token')}`)
  narrator.fact(`so it takes over the stream, and goes on with token ${durableTokens + 1}`)
  return second
}

async function replaceBroker(stage: Stage, broker: RunningBroker, clients: readonly Child[]): Promise<RunningBroker> {
  const { narrator } = stage
  const reconnected = Promise.all(clients.map((client) => client.next('connection', (message) => message.open)))
  await broker.process.end('SIGKILL')
  narrator.step(`Now the broker is killed as well (SIGKILL, process ${broker.process.pid}).`)
  const revived = await startBroker(stage, broker.port)
  narrator.fact(`it is back as process ${revived.process.pid}, on the same directory and port`)
  await reconnected
  narrator.fact('agent and reader have found it again by themselves and go on')
  return revived
}

async function compare(stage: Stage, report: ReaderReport): Promise<void> {
  const { narrator, spool } = stage
  narrator.step('The reply is done. What the reader has is compared with the input, byte for byte.')
  const names = [...new Set([...Object.keys(spool.parts), ...Object.keys(report.parts)])]
  const width = Math.max(...names.slice(0, PARTS_SHOWN).map((name) => name.length))
  const wrong: string[] = []
  for (const [index, name] of names.entries()) {
    const difference = await firstDifference(spool.parts[name], report.parts[name])
    if (difference !== undefined) wrong.push(`part "${name}" differs from the input at byte ${difference}`)
    if (index >= PARTS_SHOWN && difference === undefined) continue
    const size = formatBytes(report.parts[name]?.bytes ?? 0)
    narrator.fact(`${name.padEnd(width)} ${size.padStart(9)}  ${difference === undefined ? 'identical' : 'DIFFERENT'}`)
  }
  if (names.length > PARTS_SHOWN) narrator.fact(`and ${plural(names.length - PARTS_SHOWN, 'more part')}`)
  const { tokens, gaps, repeats, reorders, records } = report
  narrator.fact(`tokens ${tokens} of ${spool.tokens}, gaps ${gaps}, repeats ${repeats}, reorders ${reorders}`)
  narrator.fact(`(counted by the reader from the raw offsets of ${plural(records, 'record')})`)
  if (tokens !== spool.tokens) wrong.push(`the reader has ${tokens} tokens of ${spool.tokens}`)
  if (gaps + repeats + reorders > 0) wrong.push('the offsets are not gapless and in order')
  if (wrong.length > 0) throw new Untrue(wrong.join('; '))
}

/** Watches the topic, without holding it, until it is reclaimed; then looks at what is left. */
async function reclaim(stage: Stage, broker: RunningBroker, clients: readonly Child[]): Promise<void> {
  const { narrator } = stage
  narrator.step('Agent and reader leave. Nobody needs the session any more, so it goes after its linger, here 2 s.')
  const fullBytes = await dataBytes(stage.dataDirectory)
  await using observer = connect(broker.url)
  const { gone } = await untilGone(observer)
  for (const client of clients) {
    client.leaving = true
    client.send('leave')
  }
  for (const client of clients) {
    const { code } = await client.exited
    if (code !== 0) throw new Untrue(`the ${client.name} did not leave in order (exit code ${code})`)
  }
  await gone
  const { topics } = await observer.list({ prefix: TOPIC })
  if (topics.length > 0) throw new Untrue(`the topic "${TOPIC}" is still listed after its reclaim`)
  narrator.fact('the topic is gone: the broker lists none')
  const leftBytes = await lookFor(SPACE_BACK_MS, async () => {
    const bytes = await dataBytes(stage.dataDirectory)
    return bytes < fullBytes && bytes <= LEFT_MAX_BYTES ? bytes : undefined
  })
  if (leftBytes === undefined) throw new Untrue(`the disk space of the topic was not given back in ${SPACE_BACK_MS} ms`)
  narrator.fact(
    `its disk space is back: ${formatBytes(fullBytes)} of data with the reply, ${formatBytes(leftBytes)} now`,
  )
}

/** Attaches as an observer, then gives the promise that the topic goes. */
async function untilGone(broker: Broker): Promise<{ readonly gone: Promise<void> }> {
  const session = await broker.session(TOPIC, { create: false, observe: true })
  const gone = (async () => {
    try {
      for await (const _ of session.records({ from: 'live' }));
    } catch (error) {
      if (!isLitetopicError(error, 'GONE')) throw error
    }
  })()
  return { gone }
}

function plural(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`
}
