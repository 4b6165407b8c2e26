/** A broker process on a disk that becomes full, has room again, and a process that is killed then: nothing is lost. */

import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { type Broker as Client, connect, type Session } from '../../client/index.ts'
import { killAll, litetopic, type Running } from '../cli/processes.ts'
import { afterwards, tempDir } from './brokers.ts'
import { smallDisk } from './small-disk.ts'

afterEach(killAll)

/** Unanswered appends at a time. */
const WINDOW = 8

async function serve(dataDir: string): Promise<{ broker: Running; client: Client }> {
  const broker = litetopic(['serve', '--port', '0', '--data', dataDir])
  const [, url] = await broker.printed(/listening on (\S+)/)
  const client = connect(url as string)
  afterwards(() => client.close().catch(() => undefined))
  return { broker, client }
}

/** The first `count` messages of the topic, by offset. */
async function stored(client: Client, count: number): Promise<unknown[]> {
  const session = await client.session('a', { create: false })
  const found: unknown[] = []
  for await (const record of session.records({ raw: true })) {
    found[record.offset] = record.kind === 'message' ? record.value : record.kind
    if (record.offset >= count - 1) break
  }
  return found
}

/** Appends messages, several at a time, and notes where each was stored. */
class Publisher {
  /** By offset, what was acknowledged there. */
  readonly ledger: unknown[] = []
  private readonly session: Session
  private appended = 0
  private waiting = new Set<Promise<void>>()

  constructor(session: Session) {
    this.session = session
  }

  async publish(): Promise<void> {
    // Nothing that could be compressed.
    const content = `${this.appended++} ${randomBytes(75_000).toString('base64')}`
    const done = this.session.append(content).then(({ offset }) => {
      expect(this.ledger[offset]).toBeUndefined()
      this.ledger[offset] = content
      this.waiting.delete(done)
    })
    this.waiting.add(done)
    if (this.waiting.size >= WINDOW) await Promise.race(this.waiting)
  }

  async answered(): Promise<void> {
    await Promise.all(this.waiting)
    expect(this.ledger.filter((content) => content !== undefined)).toHaveLength(this.appended)
  }
}

test('fill, read on, free, go on, kill, open again: what was acknowledged is there, once and in its place', async (context) => {
  const disk = await smallDisk(await tempDir())
  if (disk === null) return context.skip('neither mount nor prlimit is permitted here')
  afterwards(() => disk.remove())
  const dataDir = join(disk.directory, 'data')
  const { broker, client } = await serve(dataDir)
  const publisher = new Publisher(await client.session('a'))
  for (let i = 0; i < 10; i++) await publisher.publish()
  await publisher.answered()

  const pid = broker.process.pid as number
  await disk.shrink(pid)
  let isFull = false
  const full = broker.printed(/the store cannot be written, .*/).then(() => {
    isFull = true
  })
  while (!isFull) await Promise.race([publisher.publish(), full])
  // Acknowledgements of before were still under way: what is read on the same connection comes behind them.
  await stored(client, 1)
  const before = publisher.ledger.length
  // Several times the least wait: it has looked, and found no room.
  await broker.printed(/the store cannot be written yet: .*/)
  await stored(client, 1)
  expect(publisher.ledger).toHaveLength(before)
  const reader = connect(client.url)
  afterwards(() => reader.close().catch(() => undefined))
  expect(await stored(reader, before)).toEqual(publisher.ledger)

  await disk.grow(pid)
  await broker.printed(/is written again/)
  await publisher.answered()
  for (let i = 0; i < 50; i++) await publisher.publish()
  await publisher.answered()
  broker.process.kill('SIGKILL')
  await broker.ended
  await client.close().catch(() => undefined)

  const again = await serve(dataDir)
  const { nextOffset } = await again.client.describe('a')
  expect(nextOffset).toBe(publisher.ledger.length)
  expect(await stored(again.client, nextOffset)).toEqual(publisher.ledger)
  again.broker.process.kill('SIGKILL')
  await again.broker.ended
}, 120_000)
