/** `litetopic verify`, as a process on real data directories. */

import { mkdtemp, readdir, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { headRange } from '../../storage/keys.ts'
import { openLevelStore } from '../../storage/leveldb/level-store.ts'
import { INDEX } from '../../storage/store.ts'
import { Rig } from '../storage/shard-rig.ts'
import { killAll, litetopic } from './processes.ts'

let directory: string
let data: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'litetopic-verify-'))
  data = join(directory, 'data')
})
afterEach(async () => {
  killAll()
  await rm(directory, { recursive: true, force: true })
})

/** A data directory with topics `a/1` and `a/2`, of two messages each, one of them long. */
async function fill(): Promise<void> {
  const rig = await Rig.open(await openLevelStore(data))
  for (const name of ['a/1', 'a/2']) {
    const state = await rig.create(name)
    await rig.append(state, [{ kind: 'message', text: 'x'.repeat(1000) }])
    await rig.flush(state)
    await rig.append(state, [{ kind: 'message', text: 'short', id: 'id' }])
  }
  await rig.shard.close()
}

/** Changes the last byte of the first value in the range. */
async function damage(range: { gte: Uint8Array; lt: Uint8Array }): Promise<void> {
  const store = await openLevelStore(data)
  const [entry] = await store.table.scan({ ...range, limit: 1 })
  if (entry === undefined) throw new Error('there is no such entry')
  const value = Uint8Array.from(entry.value)
  value[value.length - 1] = (value.at(-1) as number) ^ 1
  await store.table.write([{ key: entry.key, value }])
  await store.close()
}

test('says that a directory is sound, and what it has, and exits with 0', async () => {
  await fill()
  const { code, stdout } = await litetopic(['verify', data]).ended
  expect(stdout).toMatch(/^.*data: sound; 2 topics, 4 records, 2\.\d KB, 0 commits in the journal\n$/)
  expect(code).toBe(0)
})

test('prints one line for each damage, and exits with 1', async () => {
  await fill()
  await damage({ gte: Buffer.of(INDEX.chunk), lt: Buffer.of(INDEX.chunk + 1) })
  await damage(headRange('a/2', ''))
  const { code, stdout, stderr } = await litetopic(['verify', data]).ended
  const lines = stdout.trimEnd().split('\n')
  expect(lines).toContain('chunk of topic a/1, offset 0: it fails its checksum; lost: these records')
  expect(lines.some((line) => line.startsWith('head of topic a/2: '))).toBe(true)
  expect(lines.at(-1)).toMatch(/data: \d+ damages; 2 topics/)
  expect(stderr).toMatch(/--salvage.*\[STORE_CORRUPT\]/)
  expect(code).toBe(1)
  const json = await litetopic(['verify', data, '--json']).ended
  const parsed = json.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(parsed[0]).toMatchObject({ unit: 'chunk', topic: 'a/1' })
  expect(parsed.at(-1)).toMatchObject({ damageCount: parsed.length - 1, topics: 2 })
})

test('exits with 2 for what is no data directory, and leaves it as it is', async () => {
  const none = await litetopic(['verify', data]).ended
  expect(none.code).toBe(2)
  expect(none.stderr).toMatch(/no data directory.*\[DATA_DIR_UNUSABLE\]/)
  await fill()
  await writeFile(join(data, 'FORMAT'), '{"format":99}')
  expect(await litetopic(['verify', data]).ended).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/DATA_DIR_VERSION/),
  })
})

test('exits with 2 while a broker has the directory open', async () => {
  const broker = litetopic(['serve', '--port', '0', '--data', data])
  await broker.printed(/listening/)
  const { code, stderr } = await litetopic(['verify', data]).ended
  expect(code).toBe(2)
  expect(stderr).toMatch(/DATA_DIR_IN_USE/)
})

test('--salvage copies what is sound into a new directory that a broker can serve, and tells what is not in it', async () => {
  await fill()
  const sound = await litetopic(['verify', data, '--salvage', join(directory, 'same')]).ended
  expect(sound).toMatchObject({ code: 0, stdout: expect.stringMatching(/same: 2 topics kept, 0 cut, 0 lost/) })
  await damage({ gte: Buffer.of(INDEX.chunk), lt: Buffer.of(INDEX.chunk + 1) })
  await damage(headRange('a/2', ''))
  const copy = join(directory, 'copy')
  const { code, stdout, stderr } = await litetopic(['verify', data, '--salvage', copy]).ended
  expect(stdout).toContain('cut: topic a/1, at offset 0; left out: 2 records\n')
  expect(stdout).toMatch(/copy: 0 topics kept, [12] cut, [01] lost; store incarnation [0-9a-f]{12}\n$/)
  expect(stderr).toMatch(/what is sound was copied \[STORE_CORRUPT\]/)
  expect(code).toBe(1)
  expect((await litetopic(['verify', copy]).ended).code).toBe(0)
  const broker = litetopic(['serve', '--port', '0', '--data', copy])
  const [, url = ''] = await broker.printed(/listening on (ws:\S+)/)
  const list = await litetopic(['list', '--json', '--url', url]).ended
  expect(list.stdout).toContain('"name":"a/1"')
  const again = await litetopic(['verify', join(directory, 'same'), '--salvage', copy]).ended
  expect(again).toMatchObject({ code: 2, stderr: expect.stringMatching(/not empty.*DATA_DIR_UNUSABLE/) })
}, 60_000)

test.each(['cut short', 'gone'])(
  '--salvage has LevelDB repair a copy when one of its files is %s',
  async (how) => {
    await fill()
    // Opened again, LevelDB makes a sorted file of its log.
    for (let i = 0; i < 2; i++) await (await openLevelStore(data)).close()
    const table = join(data, 'table')
    const sorted = (await readdir(table)).filter((name) => name.endsWith('.ldb')).map((name) => join(table, name))
    expect(sorted.length).toBeGreaterThan(0)
    for (const file of sorted) {
      if (how === 'gone') await rm(file)
      else await truncate(file, 100)
    }
    const copy = join(directory, 'copy')
    const { code, stdout, stderr } = await litetopic(['verify', data, '--salvage', copy]).ended
    expect(stderr).toMatch(/a copy that LevelDB repairs/)
    expect(stdout).toMatch(/topics kept, \d+ cut, \d+ lost; store incarnation/)
    expect(code).toBe(1)
    expect((await litetopic(['verify', copy]).ended).code).toBe(0)
    expect(await readdir(directory)).toEqual(['copy', 'data'])
  },
  60_000,
)
