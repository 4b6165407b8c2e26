/**
 * `npm run torture`: agents and readers in many processes use a broker while all of them are killed at random moments. Then the
 * checker holds what the log has against what was acknowledged and read. Exit code 0 if nothing was lost, repeated, reordered or
 * invented and nothing hung; 1 if not; 2 for wrong usage. The last line says how many.
 */

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { audit } from './audit.ts'
import { freePort, startVerify } from './cast.ts'
import { Findings } from './check.ts'
import { parseOptions, type TortureOptions, USAGE } from './options.ts'
import { SHORT_PREFIX } from './short-topics.ts'
import { Storm } from './storm.ts'

const PROGRESS_MS = 5_000
/** After the last restart topics that nobody uses get their full linger again, and are then gone. */
const RECLAIM_MS = 30_000
/** A short grace, and space given back soon, so that both happen often. */
const BROKER = { streamGrace: '2s', quiet: '500ms' }

process.exitCode = await main()

async function main(): Promise<number> {
  let options: TortureOptions | null
  try {
    options = parseOptions(process.argv.slice(2))
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n${USAGE}`)
    return 2
  }
  if (options === null) {
    console.log(USAGE)
    return 0
  }
  const directory = await mkdtemp(join(tmpdir(), 'litetopic-torture-'))
  console.log(`seed ${options.seed}, ${options.agents} agents, ${options.minutes} minutes, in ${directory}`)
  const isSound = await run(options, directory)
  if (isSound && !options.keep) await rm(directory, { recursive: true, force: true })
  return isSound ? 0 : 1
}

async function run(options: TortureOptions, directory: string): Promise<boolean> {
  const port = await freePort()
  const config = join(directory, 'litetopic.json')
  await writeFile(config, JSON.stringify({ ...BROKER, port, data: join(directory, 'data') }))
  const storm = new Storm(options, directory, `ws://127.0.0.1:${port}`, config)
  process.once('exit', () => storm.killAll())
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))
  const found = new Findings()
  const begunMs = performance.now()
  const report = setInterval(() => tell(storm, begunMs), PROGRESS_MS)
  try {
    await storm.run(options.minutes * 60_000)
    await storm.restartBroker()
    tell(storm, begunMs)
    const left = await storm.leftBehind(SHORT_PREFIX, RECLAIM_MS)
    if (left > 0) found.add('wrong', `${left} topics that were to be reclaimed are still there`)
    const { records, read } = await audit(storm.url, directory, storm.topics, found)
    console.log(`${storm.topics.length} topics with ${records} records; readers were given ${read}`)
    const wrong = await storm.stopBroker()
    if (wrong !== null) found.add('wrong', wrong)
    const verify = startVerify(join(directory, 'data'))
    const { code } = await verify.ended
    if (code !== 0) found.add('wrong', `litetopic verify: ${verify.stderr}`)
  } catch (error) {
    storm.failures.push(error instanceof Error ? String(error.stack) : String(error))
  } finally {
    clearInterval(report)
    storm.killAll()
  }
  for (const line of [...found.examples, ...storm.failures]) console.log(line)
  console.log(String(found))
  return found.clean && storm.failures.length === 0
}

function tell(storm: Storm, begunMs: number): void {
  const { broker, agents, readers } = storm.kills
  const seconds = Math.round((performance.now() - begunMs) / 1000)
  console.log(
    `${seconds} s: ${storm.records} records acknowledged and read; killed: broker ${broker}, agents ${agents}, readers ${readers}`,
  )
}
