/** The commands that change a session or look at it from where an agent stands, as processes against a real broker. */

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Broker, startBroker } from '../../broker/index.ts'
import { type Broker as Client, connect } from '../../client/index.ts'
import { killAll, litetopic, type Running } from './processes.ts'

let broker: Broker
let client: Client
beforeEach(async () => {
  broker = await startBroker({ port: 0, dataDir: null })
  client = connect(broker.url)
})
afterEach(async () => {
  killAll()
  await client.close()
  await broker.close()
})

function run(...args: string[]): Running {
  return litetopic(args, { env: { LITETOPIC_URL: broker.url } })
}

/** What it prints, as JSON; fails the test if it fails. */
async function json(...args: string[]): Promise<unknown> {
  const { code, stdout, stderr } = await run(...args, '--json').ended
  expect([code, stderr]).toEqual([0, ''])
  return JSON.parse(stdout)
}

describe('a session', () => {
  test('has its streams stopped, whose writer is told why', async () => {
    const session = await client.session('a')
    const writer = await session.openStream('s')
    const stopped = new Promise((resolve) => writer.signal.addEventListener('abort', resolve))
    expect(await run('stop', 'a', '--reason', 'enough').ended).toMatchObject({ code: 0, stdout: 's stopped\n' })
    await stopped
    expect(writer.signal.reason).toMatchObject({ code: 'STREAM_STOPPED', details: { reason: 'enough' } })
    const again = await run('stop', 'a').ended
    expect(again).toMatchObject({ code: 0, stdout: '' })
    expect(again.stderr).toMatch(/no stream of "a" is open/)
  })

  test('is pinned, forked at a checkpoint, and deleted; what is not there is said, with 1', async () => {
    const session = await client.session<string>('a')
    await session.append('one')
    await session.checkpoint('half')
    await session.append('two')
    expect(await json('pin', 'a')).toMatchObject({ topic: 'a', lingerMs: 'forever' })
    expect((await run('pin', 'a', '--linger', '10m').ended).stdout).toBe('a outlives its last connection by 10m\n')
    expect(await json('fork', 'a', 'b', '--checkpoint', 'half')).toEqual({
      name: 'b',
      forkedFrom: { name: 'a', epoch: session.epoch, offset: 2 },
    })
    expect(await json('delete', 'a')).toEqual({ deleted: 'a' })
    expect((await client.list()).topics.map(({ name }) => name)).toEqual(['b'])
    const { code, stderr } = await run('delete', 'a').ended
    expect([code, stderr]).toEqual([
      1,
      'litetopic: there is no topic "a"; see what there is with "litetopic list" [NOT_FOUND]\n',
    ])
  })

  test('is resumed where an agent would, with context and the text so far, and followed from there', async () => {
    const session = await client.session<string>('a')
    await session.context.set('mood', 'calm')
    await session.checkpoint('start', { step: 1 })
    const writer = await session.openStream('s')
    writer.write('Hello')
    await writer.flush()
    const stands = (await json('resume', 'a', '--once')) as object
    expect(stands).toMatchObject({
      outcome: 'continued',
      checkpoint: { name: 'start', state: { step: 1 } },
      context: { mood: 'calm' },
      streams: [{ id: 's', state: 'open', live: true, parts: { text: 'Hello' } }],
    })
    const following = run('resume', 'a')
    await following.printed(/Hello/)
    await writer.end()
    await following.printed(/stream s done/)
    await session.delete()
    expect((await following.ended).code).toBe(0)
  })

  test('without a checkpoint is resumed from its beginning', async () => {
    const session = await client.session<string>('a')
    await session.append('one')
    const { stdout, stderr } = await run('resume', 'a', '--once').ended
    expect([stdout, stderr]).toEqual(['', '-- continued\n'])
    expect(await json('resume', 'a', '--once')).toMatchObject({ outcome: 'continued', checkpoint: null, nextOffset: 1 })
  })
})

describe('top', () => {
  test('shows sessions and rates, as text and as JSON, and ends after so many looks', async () => {
    const session = await client.session<string>('busy')
    await client.session('idle')
    await session.append('x')
    const looking = run('top', '--count', '2', '--every', '300ms', '--json')
    await looking.printed(/\n/)
    await session.append('y')
    const { code, stdout } = await looking.ended
    expect(code).toBe(0)
    const [, second] = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(second).toMatchObject({ connections: 2, attachments: 2, resident: 2, more: false })
    expect(second.sessions.map(({ name }: { name: string }) => name)).toEqual(['busy', 'idle'])
    expect(second.sessions[0].recordsPerSecond).toBeGreaterThan(0)
    const text = await run('top', 'busy', '--count', '1').ended
    expect(text.stdout).toMatch(/^litetopic ws:.*\nconnections 2 /)
    expect(text.stdout).toMatch(/\nbusy +0\.0 +2 /)
    expect(text.stdout).not.toMatch(/idle/)
  })
})

describe('completion', () => {
  test('completes commands and the options of each in a real shell', async () => {
    const { stdout: script } = await run('completion', 'bash').ended
    const complete = async (...words: string[]): Promise<string[]> => {
      const call = `COMP_WORDS=(${words.join(' ')}); COMP_CWORD=${words.length - 1}; _litetopic; echo "\${COMPREPLY[@]}"`
      const { stdout } = await promisify(execFile)('bash', ['-c', `${script}\n${call}`])
      return stdout.trim().split(' ')
    }
    expect(await complete('litetopic', 'st')).toEqual(['stop'])
    const options = ['--url', '--token-file', '--at', '--checkpoint', '--json', '--help']
    expect(await complete('litetopic', 'fork', '--')).toEqual(options)
    const fish = await run('completion', 'fish').ended
    expect(fish.stdout).toMatch(/complete -c litetopic -n __fish_use_subcommand -a top -d 'watch sessions/)
    expect((await run('completion', 'tcsh').ended).code).toBe(2)
  })
})
