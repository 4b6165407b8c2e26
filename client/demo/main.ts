/**
 * `npm run demo`: streams a reply from an agent to a reader while both the agent and the broker are killed, and proves
 * that the reader has every token once and in order. Exit code 0 if all of it is true, 1 if not, 2 for input that
 * cannot be used, 130 when it is interrupted.
 */

import { createReadStream } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { parseArgs } from 'node:util'
import { isLitetopicError } from '../../protocol/index.ts'
import { formatBytes } from './disk.ts'
import { describe } from './messages.ts'
import { Narrator } from './narrator.ts'
import { Cast } from './processes.ts'
import { type Recording, readRecording } from './providers.ts'
import { type Spool, spoolTokens } from './spool.ts'
import { playStory, Untrue } from './story.ts'
import { OWN_TEXT } from './text.ts'

const USAGE = `Usage: npm run demo [-- --input FILE] [--keep]

  --input FILE   stream this: a model's recorded stream (OpenAI or Anthropic; JSON lines or
                 server-sent events) or any text; "-" reads standard input
  --keep         keep the broker's data directory`

/** The whole demo takes about 20 s; one that has not ended by now hangs. */
const DEADLINE_MS = 90_000

/** What the system says about a path that cannot be read. */
const INPUT_ERRORS = new Set(['ENOENT', 'EACCES', 'EISDIR', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG', 'EPERM', 'EIO'])

/** Input or arguments that cannot be used. */
class Unusable extends Error {}

interface Options {
  readonly input: string | undefined
  readonly keep: boolean
}

process.exit(await main())

async function main(): Promise<number> {
  const started = performance.now()
  const narrator = new Narrator(process.stdout)
  const cast = new Cast()
  process.once('exit', () => cast.dismissNow())
  let directory: string | undefined
  const interrupted = untilInterrupted()
  try {
    const options = parseOptions()
    if (options === null) return 0
    directory = await mkdtemp(join(tmpdir(), 'litetopic-demo-'))
    const signal = await Promise.race([run(options, directory, cast, narrator), interrupted, deadline(), cast.failed])
    if (signal !== undefined) {
      console.error(`\nlitetopic demo: interrupted by ${signal}`)
      return 130
    }
    narrator.title(`All of it held, in ${((performance.now() - started) / 1000).toFixed(1)} s.`)
    if (options.keep) narrator.fact(`the data is kept in ${directory}`)
    else narrator.fact('See it with an input of your own: npm run demo -- --input FILE')
    if (options.keep) directory = undefined
    return 0
  } catch (error) {
    if (error instanceof Unusable) {
      console.error(`litetopic demo: ${error.message}`)
      return 2
    }
    console.error(`\nlitetopic demo: ${error instanceof Untrue ? 'NOT TRUE: ' : ''}${describe(error)}`)
    return 1
  } finally {
    await cast.dismiss()
    if (directory !== undefined) await rm(directory, { recursive: true, force: true })
  }
}

function parseOptions(): Options | null {
  try {
    const { values } = parseArgs({
      options: { input: { type: 'string' }, keep: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } },
    })
    if (values.help) console.log(USAGE)
    return values.help ? null : { input: values.input, keep: values.keep === true }
  } catch (cause) {
    throw new Unusable(`${(cause as Error).message}\n${USAGE}`, { cause })
  }
}

async function run(options: Options, directory: string, cast: Cast, narrator: Narrator): Promise<undefined> {
  const spool = await readInput(options.input, join(directory, 'input'), narrator)
  await playStory({
    cast,
    narrator,
    spool,
    dataDirectory: join(directory, 'data'),
    receivedDirectory: join(directory, 'received'),
    configPath: join(directory, 'litetopic.json'),
  })
}

/** Reads the whole input before anything starts, so that a bad one costs no more than one line. */
async function readInput(input: string | undefined, directory: string, narrator: Narrator): Promise<Spool> {
  const name = input === undefined ? 'a text of its own' : input === '-' ? 'standard input' : basename(input)
  const recording = readRecording(openInput(input))
  let spool: Spool
  try {
    spool = await spoolTokens(recording, directory)
  } catch (error) {
    if (isLitetopicError(error, 'BAD_VALUE')) throw new Unusable(`${name}: ${error.message}`, { cause: error })
    const code = (error as NodeJS.ErrnoException).code
    if (code === undefined || !INPUT_ERRORS.has(code)) throw error
    throw new Unusable(`${input} cannot be read (${code})`, { cause: error })
  }
  if (spool.tokens === 0) throw new Unusable(`${name} ${whyEmpty(recording)}`)
  narrator.title('litetopic: a reply that survives the death of its agent and of its broker')
  const parts = Object.keys(spool.parts).length
  const kind = [recording.provider, recording.framing].filter(Boolean).join(', ')
  narrator.fact(`The reply: ${name} (${kind})`)
  narrator.fact(`${spool.tokens} tokens, ${formatBytes(spool.bytes)}, in ${parts} part${parts === 1 ? '' : 's'}`)
  return spool
}

function openInput(input: string | undefined): AsyncIterable<Uint8Array> {
  if (input === undefined) return ownText()
  return input === '-' ? process.stdin : createReadStream(input)
}

async function* ownText(): AsyncGenerator<Uint8Array> {
  yield new TextEncoder().encode(OWN_TEXT)
}

function whyEmpty(recording: Recording): string {
  if (recording.events === 0) return 'is empty: there is nothing to stream'
  return (
    `holds ${recording.events} events but no token: none is a delta of OpenAI chat completions, ` +
    'OpenAI Responses or Anthropic messages'
  )
}

function untilInterrupted(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => resolve(signal))
  })
}

function deadline(): Promise<never> {
  return new Promise((_, reject) => {
    const late = () => reject(new Untrue(`nothing came to an end within ${DEADLINE_MS / 1000} s`))
    setTimeout(late, DEADLINE_MS).unref()
  })
}
