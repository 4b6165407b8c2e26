/** Large messages on the command line, as processes against a real broker. */

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Broker, startBroker } from '../../broker/index.ts'
import { connect } from '../../client/index.ts'
import { killAll, litetopic } from './processes.ts'

let directory: string
let broker: Broker

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'litetopic-cli-'))
  broker = await startBroker({ port: 0, dataDir: null })
})

afterEach(async () => {
  killAll()
  await broker.close()
  await rm(directory, { recursive: true, force: true })
})

const environment = (): { env: NodeJS.ProcessEnv } => ({ env: { LITETOPIC_URL: broker.url } })

describe('publish --file', () => {
  it('appends a whole file as one message, says how far it is, and tail names what it does not show', async () => {
    const path = join(directory, 'movie.mp4')
    const bytes = Buffer.alloc(3_000_000, 'some bytes ')
    await writeFile(path, bytes)
    const published = await litetopic(['publish', 'a/b', '--file', path], environment()).ended
    expect(published).toMatchObject({ code: 0, stdout: '' })
    const lines = published.stderr.trimEnd().split('\n')
    expect(lines.at(-2)).toBe(`litetopic: ${path}: 3.0 MB of 3.0 MB, 100 %`)
    expect(lines.at(-1)).toBe(`litetopic: ${path} (3.0 MB) is stored in a/b at offset 0`)
    expect(lines.length).toBeGreaterThan(2)

    const client = connect(broker.url)
    const session = await client.session('a/b')
    await session.append({ text: 'x'.repeat(2_000_000) })
    const record = (await session.records().next()).value
    if (record?.kind !== 'message' || !record.large) throw new Error('no large message')
    expect(Buffer.compare(await record.large.bytes(), bytes)).toBe(0)
    await client.close()

    const tail = litetopic(['tail', 'a/b'], environment())
    await tail.printed(/^-- large message, 3\.0 MB bytes\n-- large message, 2\.0 MB json\n$/)
    expect(tail.stdout()).toBe('')
    const json = litetopic(['tail', 'a/b', '--json'], environment())
    await json.printed(/"large":\{"size":3000000,"tag":"bytes"\}/)
    const inspected = await litetopic(['inspect', 'a/b'], environment()).ended
    expect(inspected.stdout).toMatch(/\nbytes +5\.0 MB\n/)
  })

  it.each<[string, (path: string) => string[], RegExp]>([
    ['a file that is not there', (path) => ['--file', join(path, 'none')], /cannot be published: ENOENT/],
    ['a directory', (path) => ['--file', path], /cannot be published: it is no file/],
    ['options of a stream', (path) => ['--file', path, '--stream', 's'], /--file.*cannot be used with.*--stream/],
  ])('refuses %s with 2', async (_, args, message) => {
    const { code, stderr } = await litetopic(['publish', 'a', ...args(directory)], environment()).ended
    expect(code).toBe(2)
    expect(stderr).toMatch(message)
  })
})
