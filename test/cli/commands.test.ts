/** The command line, as processes against a real broker. */

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { connect } from '../../client/index.ts'
import { killAll, litetopic, type Running } from './processes.ts'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'litetopic-cli-'))
})
afterEach(async () => {
  killAll()
  await rm(directory, { recursive: true, force: true })
})

async function serve(...args: string[]): Promise<{ broker: Running; url: string; env: NodeJS.ProcessEnv }> {
  const broker = litetopic(['serve', '--port', '0', '--data', join(directory, 'data'), ...args])
  const [, url = ''] = await broker.printed(/^litetopic listening on (ws:\S+)\n/)
  return { broker, url, env: { LITETOPIC_URL: url } }
}

describe('serve', () => {
  test('prints where it listens first, then where the data is and what to try, and closes in order on SIGTERM', async () => {
    const { broker, url } = await serve()
    await broker.printed(/npx litetopic tail/)
    expect(broker.stdout()).toContain(join(directory, 'data'))
    expect(broker.stdout()).toContain(`--url ${url}`)
    broker.process.kill('SIGTERM')
    expect(await broker.ended).toMatchObject({ code: 0, signal: null })
  })

  test('takes its configuration from a file, and options before it', async () => {
    const config = join(directory, 'litetopic.json')
    await writeFile(config, JSON.stringify({ port: 1, durability: 'os', policies: { short: { linger: '90s' } } }))
    const { broker, env } = await serve('--config', config, '--linger', '5m')
    expect(await broker.printed(/durability (\w+)/)).toContain('os')
    for (const topic of ['short/a', 'shorter']) await finish(litetopic(['publish', topic], { input: 'x', env }))
    const { stdout } = await litetopic(['list', '--json'], { env }).ended
    const lingers = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).lingerMs)
    expect(lingers).toEqual([90_000, 300_000])
  })

  test('says that a port is taken, and exits with 2', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    try {
      const address = server.address()
      const port = typeof address === 'object' && address ? address.port : 0
      const second = litetopic(['serve', '--port', String(port), '--data', join(directory, 'data')])
      const { code, stderr } = await second.ended
      expect(code).toBe(2)
      expectOneLine(stderr, /PORT_IN_USE/, /--port/)
    } finally {
      server.close()
    }
  })

  test('says that a data directory is in use, and exits with 2', async () => {
    await serve()
    const second = litetopic(['serve', '--port', '0', '--data', join(directory, 'data')])
    const { code, stderr } = await second.ended
    expect(code).toBe(2)
    expectOneLine(stderr, /DATA_DIR_IN_USE/, /--data/)
  })

  test('says that a data directory cannot be used, and exits with 2', async () => {
    await writeFile(join(directory, 'file'), 'not a directory')
    const { code, stderr } = await litetopic(['serve', '--port', '0', '--data', join(directory, 'file')]).ended
    expect(code).toBe(2)
    expectOneLine(stderr, /DATA_DIR_UNUSABLE/, /--data/)
  })

  test.each([
    ['a bad port', ['--port', '99999'], /--port.*99999/],
    ['a bad duration', ['--linger', 'soon'], /--linger.*"soon" is no duration/],
    ['a bad durability', ['--durability', 'maybe'], /--durability/],
    ['an unknown option', ['--prot', '1'], /--prot/],
    ['a missing configuration', ['--config', '/nonexistent.json'], /nonexistent\.json cannot be read \(ENOENT\)/],
  ])('refuses %s with 2 before it starts anything', async (_, args, message) => {
    const { code, stderr, stdout } = await litetopic(['serve', '--data', join(directory, 'data'), ...args]).ended
    expect(code).toBe(2)
    expect(stderr).toMatch(message)
    expect(stdout).toBe('')
  })
})

describe('publish and tail', () => {
  test('give back exactly the text that was published, live, until the topic is gone', async () => {
    const { env } = await serve('--linger', '0')
    const publish = litetopic(['publish', 'a/b', '--stream', 's1'], { input: 'Grüße, ', env })
    await publish.printed(/stream s1 of a\/b is open at offset 0/)
    const tail = litetopic(['tail', 'a/b'], { env })
    await tail.printed(/Grüße, /)
    publish.process.stdin?.write('Welt 👋')
    await tail.printed(/Welt 👋/)
    publish.process.stdin?.end()
    const published = await publish.ended
    expect(published).toMatchObject({ code: 0, stdout: '' })
    expect(published.stderr).toMatch(/stream s1 is done: 2 tokens, offsets 0 to 3/)
    expect(await tail.ended).toMatchObject({ code: 0, stdout: 'Grüße, Welt 👋' })
  })

  test('with --json, tail prints every record as a line', async () => {
    const { env } = await serve()
    await finish(litetopic(['publish', 'a', '--stream', 's', '--part', 'reasoning'], { input: 'hm', env }))
    const tail = litetopic(['tail', 'a', '--json', '--from', 'start'], { env })
    await tail.printed(/"done"/)
    const records = tail
      .stdout()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(records.map(({ kind }) => kind)).toEqual(['stream', 'token', 'stream'])
    expect(records[1]).toMatchObject({ streamId: 's', part: 'reasoning', text: 'hm', offset: 1 })
    expect(records[1].cursor).toMatch(/^[0-9a-f]{40}$/)
    const rest = litetopic(['tail', 'a', '--json', '--from', records[1].cursor], { env })
    await rest.printed(/"done"/)
    expect(rest.stdout().trim().split('\n').length).toBe(1)
  })

  test('with --format auto, publish takes the deltas out of a recorded stream', async () => {
    const { env } = await serve()
    const event = (content: string) => `data: {"choices":[{"index":0,"delta":{"content":"${content}"}}]}\n\n`
    const input = `${event('Hello')}${event(' world')}data: [DONE]\n\n`
    const { code, stderr } = await finish(litetopic(['publish', 'a', '--format', 'auto'], { input, env }))
    expect(code).toBe(0)
    expect(stderr).toMatch(/2 tokens/)
    const tail = litetopic(['tail', 'a'], { env })
    await tail.printed(/Hello world/)
  })

  test('publish fails, and ends its stream as failed, when the input is broken', async () => {
    const { env } = await serve()
    const input = '{"choices":[{"index":0,"delta":{"content":"a"}}]}\n{oops\n'
    const published = await finish(litetopic(['publish', 'a', '--format', 'auto'], { input, env }))
    expect(published.code).toBe(1)
    expect(published.stderr).toMatch(/line 2 is not a JSON object/)
    const tail = litetopic(['tail', 'a'], { env })
    await tail.printed(/failed/)
  })

  test('publish refuses the id of a stream that exists', async () => {
    const { env } = await serve()
    await finish(litetopic(['publish', 'a', '--stream', 's'], { input: 'x', env }))
    const again = await finish(litetopic(['publish', 'a', '--stream', 's'], { input: 'x', env }))
    expect(again.code).toBe(1)
    expectOneLine(again.stderr, /STREAM_EXISTS/, /--stream/)
  })

  test('tail says that there is no such topic', async () => {
    const { env } = await serve()
    const { code, stderr } = await litetopic(['tail', 'nobody'], { env }).ended
    expect(code).toBe(1)
    expectOneLine(stderr, /there is no topic "nobody"/, /NOT_FOUND/)
  })
})

describe('list and inspect', () => {
  test('show what there is, as text and as JSON', async () => {
    const { env } = await serve('--linger', '10m')
    await finish(litetopic(['publish', 'a/one', '--stream', 's'], { input: 'x', env }))
    await finish(litetopic(['publish', 'b'], { input: 'x', env }))
    const text = await litetopic(['list'], { env }).ended
    expect(text.stdout).toMatch(/^TOPIC\s+RECORDS/)
    expect(text.stdout).toMatch(/a\/one\s+3 .*lingering.* 10m/)
    const json = await litetopic(['list', 'a', '--json'], { env }).ended
    expect(
      json.stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).name),
    ).toEqual(['a/one'])

    const inspected = await litetopic(['inspect', 'a/one'], { env }).ended
    expect(inspected).toMatchObject({ code: 0, stderr: '' })
    expect(inspected.stdout).toMatch(/^topic\s+a\/one\n/)
    expect(inspected.stdout).toMatch(/ s\s+done\s+text: 1 characters/)
    const found = JSON.parse((await litetopic(['inspect', 'a/one', '--json'], { env }).ended).stdout)
    expect(found.topic).toMatchObject({ name: 'a/one', firstOffset: 0, nextOffset: 3, lingerMs: 600_000 })
    expect(found).toMatchObject({
      checkpoints: [],
      context: {},
      streams: [{ id: 's', state: 'done', lengths: { text: 1 } }],
    })
  })

  test('inspect shows calls that run once: what was called, with what, and what came of it', async () => {
    const { env, url } = await serve()
    const broker = connect(url)
    const session = await broker.session('agent')
    await session.once('1', () => ({ sky: 'blue' }), { tool: 'weather', input: { city: 'Rome' } })
    await session.once('2', () => Promise.reject(new Error('no seat'))).catch(() => undefined)
    await broker.close()
    const { stdout } = await litetopic(['inspect', 'agent'], { env }).ended
    expect(stdout).toMatch(/calls:\n {2}1\s+done\s+weather\(\{"city":"Rome"\}\)\s+→ \{"sky":"blue"\}/)
    expect(stdout).toMatch(/\n {2}2\s+failed\s+\(\)\s+→ \{"message":"no seat"\}/)
    const found = JSON.parse((await litetopic(['inspect', 'agent', '--json'], { env }).ended).stdout)
    expect(found.calls[0]).toEqual({
      id: '1',
      state: 'done',
      tool: 'weather',
      input: { city: 'Rome' },
      output: { sky: 'blue' },
    })
  })

  test.each([['list'], ['inspect', 'a'], ['tail', 'a'], ['publish', 'a']])(
    '%s says when no broker answers',
    async (...args) => {
      const { broker, env } = await serve()
      broker.process.kill('SIGKILL')
      await broker.ended
      const { code, stderr } = await litetopic(args, { env, input: '' }).ended
      expect(code).toBe(1)
      expectOneLine(stderr, /no broker answers at ws:/, /litetopic serve/)
    },
  )
})

test.each([
  ['no command', []],
  ['an unknown command', ['sreve']],
  ['an address that is none', ['list', '--url', 'localhost:7171']],
  ['a name that is none', ['publish', 'a b', '--url', 'ws://127.0.0.1:1']],
])('%s is wrong usage', async (_, args) => {
  expect((await finish(litetopic(args, { input: '' }))).code).toBe(2)
})

test('help and version are no failure', async () => {
  const help = await litetopic(['--help']).ended
  expect(help).toMatchObject({ code: 0, stderr: '' })
  for (const command of ['serve', 'publish', 'tail', 'list', 'inspect']) expect(help.stdout).toContain(`  ${command} `)
  expect((await litetopic(['--version']).ended).stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
})

async function finish(process: Running): Promise<Awaited<Running['ended']>> {
  process.process.stdin?.end()
  return process.ended
}

function expectOneLine(stderr: string, ...patterns: RegExp[]): void {
  const lines = stderr.trimEnd().split('\n')
  expect(lines.length).toBe(1)
  for (const pattern of patterns) expect(lines[0]).toMatch(pattern)
}
