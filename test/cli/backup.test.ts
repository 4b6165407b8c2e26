/** `litetopic backup`, as a process: of a broker under load, of a stopped one, cut off half-way; and what is restored from it. */

import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { startBroker } from '../../broker/index.ts'
import { type Broker, connect, type Session, type SessionRecord } from '../../client/index.ts'
import { formatCursor, parseCursor } from '../../protocol/index.ts'
import { openLevelStore } from '../../storage/leveldb/level-store.ts'
import { verifyStore } from '../../storage/verify/verify.ts'
import { killAll, litetopic, type Running } from './processes.ts'

const TOPICS = 5

let directory: string
let data: string
let copy: string
const clients: Broker[] = []
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'litetopic-backup-'))
  data = join(directory, 'data')
  copy = join(directory, 'copy')
})
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close().catch(() => undefined)))
  killAll()
  await rm(directory, { recursive: true, force: true })
})

async function serve(path: string, port = '0'): Promise<{ broker: Running; url: string }> {
  const broker = litetopic(['serve', '--port', port, '--data', path])
  const [, url = ''] = await broker.printed(/^litetopic listening on (ws:\S+)\n/)
  return { broker, url }
}

function client(url: string): Broker {
  const broker = connect(url, { reconnect: { minMs: 10, maxMs: 100 } })
  clients.push(broker)
  return broker
}

/** Values of all messages of a topic as it is now. */
async function valuesOf(session: Session): Promise<unknown[]> {
  const { nextOffset } = await session.describe()
  const records: SessionRecord[] = []
  if (nextOffset === 0) return []
  for await (const record of session.records()) {
    records.push(record)
    if (record.offset === nextOffset - 1) break
  }
  return records.map((record) => (record.kind === 'message' ? record.value : record.kind))
}

async function damagesOf(path: string): Promise<readonly unknown[]> {
  const store = await openLevelStore(path, { create: false })
  const { damages } = await verifyStore(store)
  await store.close()
  return damages
}

test('a broker under load is copied: all that was acknowledged before is there, and nothing that is not in the original', async () => {
  const { broker, url } = await serve(data)
  const source = client(url)
  const sessions = await Promise.all(Array.from({ length: TOPICS }, (_, i) => source.session(`load/${i}`)))
  const acknowledged = sessions.map(() => 0)
  let isDone = false
  const writers = sessions.map(async (session, i) => {
    for (let n = 0; !isDone; n++) {
      await session.append(`${n} ${'x'.repeat(n % 3000)}`)
      acknowledged[i] = n + 1
    }
  })
  for (;;) {
    await sessions[0]?.append('')
    if (Math.min(...acknowledged) > 50) break
  }
  const before = [...acknowledged]
  const { code, stdout, stderr } = await litetopic(['backup', data, copy]).ended
  expect({ code, stderr }).toMatchObject({ code: 0 })
  expect(stdout).toMatch(/copy: a copy of .*data, store incarnation [0-9a-f]{12}\n$/)
  const duringBackup = acknowledged.map((count, i) => count - (before[i] as number))
  expect(Math.min(...duringBackup)).toBeGreaterThan(0)
  isDone = true
  await Promise.all(writers)
  expect(await damagesOf(copy)).toEqual([])
  const restored = await startBroker({ port: 0, dataDir: copy })
  try {
    const target = client(restored.url)
    for (const [i, session] of sessions.entries()) {
      const original = await valuesOf(session)
      const kept = await target.session(session.name, { create: false })
      const values = await valuesOf(kept)
      expect(values.length).toBeGreaterThanOrEqual(before[i] as number)
      expect(values).toEqual(original.slice(0, values.length))
      // A cursor of the original goes on up to there, and beyond it has diverged.
      const { cursor } = await session.append('end')
      const { incarnation, epoch } = parseCursor(cursor)
      const at = (next: number) => kept.resume({ cursor: formatCursor({ incarnation, epoch, next }) })
      expect(await at(values.length)).toMatchObject({ outcome: 'continued' })
      expect(await at(values.length + 1)).toMatchObject({ outcome: 'diverged', commonOffset: values.length })
      expect((await kept.append('on')).offset).toBe(values.length)
    }
  } finally {
    await restored.close()
  }
  broker.process.kill('SIGTERM')
  expect(await broker.ended).toMatchObject({ code: 0 })
}, 60_000)

test('what a stopped broker left is copied, also by SIGKILL, and the same again makes another history', async () => {
  const { broker, url } = await serve(data)
  const session = await client(url).session('t')
  const { cursor } = await session.append('a')
  await session.append('b')
  broker.process.kill('SIGKILL')
  await broker.ended
  expect(await readdir(data)).toContain('control.sock')
  const first = await litetopic(['backup', data, copy]).ended
  expect(first).toMatchObject({ code: 0 })
  const again = await litetopic(['backup', copy, `${copy}-2`]).ended
  expect(again).toMatchObject({ code: 0 })
  const incarnations = [first, again].map(({ stdout }) => /incarnation (\w+)/.exec(stdout)?.[1])
  expect(new Set(incarnations).size).toBe(2)
  expect(await damagesOf(data)).toEqual([])
  const second = await serve(`${copy}-2`)
  const kept = await client(second.url).session('t', { create: false })
  expect(await valuesOf(kept)).toEqual(['a', 'b'])
  expect(await kept.resume({ cursor })).toMatchObject({ outcome: 'continued' })
  // The socket that the killed one left is in nobody's way.
  const third = await serve(data)
  expect((await litetopic(['backup', data, `${copy}-3`]).ended).code).toBe(0)
  third.broker.process.kill('SIGTERM')
  await third.broker.ended
  expect(await readdir(data)).not.toContain('control.sock')
}, 60_000)

describe('the target', () => {
  test('may be an empty directory, and nothing else that there is', async () => {
    await serve(data)
    await mkdir(copy)
    expect((await litetopic(['backup', data, copy]).ended).code).toBe(0)
    const again = await litetopic(['backup', data, copy]).ended
    expect(again).toMatchObject({ code: 2, stderr: expect.stringMatching(/not empty.*DATA_DIR_UNUSABLE/) })
    const within = await litetopic(['backup', data, join(data, 'copy')]).ended
    expect(within).toMatchObject({ code: 2, stderr: expect.stringMatching(/DATA_DIR_UNUSABLE/) })
    const none = await litetopic(['backup', join(directory, 'none'), `${copy}-2`]).ended
    expect(none).toMatchObject({ code: 2, stderr: expect.stringMatching(/no data directory.*DATA_DIR_UNUSABLE/) })
  })

  test('does not get its name when the backup is cut off, and the next one begins anew', async () => {
    const { url } = await serve(data)
    const session = await client(url).session('t')
    const large = 'x'.repeat(200_000)
    for (let i = 0; i < 150; i++) await session.append(large)
    const backup = litetopic(['backup', data, copy])
    // The broker rests after each piece: there is time to see that it has begun.
    for (;;) {
      if ((await readdir(directory)).includes('copy.partial')) break
      await session.append('meanwhile')
    }
    backup.process.kill('SIGKILL')
    await backup.ended
    expect(await readdir(directory)).not.toContain('copy')
    // The broker has noticed that nobody waits any more, and has closed what it was filling.
    for (;;) {
      const { code, stderr } = await litetopic(['backup', data, copy]).ended
      if (code === 0) break
      expect(stderr).toMatch(/DATA_DIR_IN_USE/)
    }
    expect(await damagesOf(copy)).toEqual([])
    expect(await readdir(directory)).not.toContain('copy.partial')
  }, 60_000)

  test('that was left half-way is refused by a broker', async () => {
    const source = await startBroker({ port: 0, dataDir: data })
    const session = await client(source.url).session('t')
    await session.append('a')
    await source.close()
    expect((await litetopic(['backup', data, copy]).ended).code).toBe(0)
    // As it was before the last thing was copied, the info.
    const store = await openLevelStore(copy)
    await store.table.write([{ key: Buffer.of(1), value: null }])
    await store.close()
    await expect(startBroker({ port: 0, dataDir: copy })).rejects.toMatchObject({ code: 'STORE_CORRUPT' })
  })
})

describe('the control socket', () => {
  test('is for its owner alone, and works below a path that is too long for a socket', async () => {
    const long = join(directory, 'd'.repeat(100), 'data')
    const { broker, url } = await serve(long)
    await (await client(url).session('t')).append('a')
    expect((await stat(join(long, 'control.sock'))).mode & 0o777).toBe(0o600)
    expect(await litetopic(['backup', long, copy]).ended).toMatchObject({ code: 0 })
    broker.process.kill('SIGTERM')
    await broker.ended
    expect(await readdir(long)).not.toContain('control.sock')
    const short = await serve(data)
    expect((await stat(join(data, 'control.sock'))).mode & 0o777).toBe(0o600)
    short.broker.process.kill('SIGTERM')
    await short.broker.ended
  })

  test('does not keep a broker from closing, whoever is connected to it and says nothing', async () => {
    const { broker } = await serve(data)
    const silent = createConnection(join(data, 'control.sock'))
    await once(silent, 'connect')
    const closed = once(silent, 'close')
    broker.process.kill('SIGTERM')
    expect(await broker.ended).toMatchObject({ code: 0 })
    await closed
    expect(await readdir(data)).not.toContain('control.sock')
  })

  test('that cannot be made does not keep a broker from serving', async () => {
    await mkdir(join(data, 'control.sock', 'in-the-way'), { recursive: true })
    await writeFile(join(data, 'control.sock', 'in-the-way', 'file'), '')
    await chmod(join(data, 'control.sock'), 0o755)
    const log: string[] = []
    const broker = await startBroker({ port: 0, dataDir: data, log: (line) => log.push(line) })
    await (await client(broker.url).session('t')).append('a')
    expect(log.join()).toMatch(/no backup/)
    await Promise.all(clients.splice(0).map((each) => each.close()))
    await broker.close()
  })
})
