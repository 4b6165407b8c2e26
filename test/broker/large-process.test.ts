/** Large messages and a broker in a process of its own: killed in the middle, and asked for more than it may hold. */

import { afterEach, expect, test } from 'vitest'
import { LIMITS, UP } from '../../protocol/index.ts'
import { kill, killAll, type Running, runScript } from '../cli/processes.ts'
import { tempDir } from './brokers.ts'
import { begin, contentOf, fetchAll, granted, large, partsOf, sendPart, upload } from './large.ts'
import { Peer } from './peer.ts'

const { partBytes } = LIMITS
const MIB = 1024 * 1024

afterEach(killAll)

async function start(dir: string): Promise<{ running: Running; url: string }> {
  const running = runScript('test/broker/broker-process.ts', [dir], { input: '\n' })
  const found = await running.printed(/url (\S+)/)
  return { running, url: found[1] as string }
}

test('an upload and a read go on where they were after a SIGKILL of the broker', { timeout: 120_000 }, async () => {
  const dir = await tempDir()
  const content = contentOf(5 * partBytes + 77)
  const first = await start(dir)
  const writer = await Peer.connect(first.url)
  const { epoch } = await writer.attach('t', { producer: 'w' })
  await upload(writer, { uploadId: 'u' }, content, 3)
  // This one is on its way when the broker dies.
  await granted(writer, 'u')
  void sendPart(writer, { uploadId: 'u' }, 3, partsOf(content)[3] as Uint8Array).catch(() => undefined)
  await kill(first.running)
  const second = await start(dir)
  const again = await Peer.connect(second.url)
  await again.attach('t', { producer: 'w', epoch })
  const { storedParts } = await begin(again, { uploadId: 'u' })
  expect([3, 4]).toContain(storedParts)
  await upload(again, { uploadId: 'u' }, content)
  const offset = await again.append({ sequence: 0 }, large('u', content))
  const read = [
    await again.ask(UP.fetch, 0, offset, 0, partBytes),
    await again.ask(UP.fetch, 0, offset, partBytes, 1000),
  ]
  await kill(second.running)
  const third = await start(dir)
  const reader = await Peer.connect(third.url)
  await reader.attach('t', { create: false, epoch })
  const rest = await fetchAll(reader, offset, partBytes + 1000)
  expect(Buffer.concat([...read.map(({ bytes }) => bytes), rest]).equals(content)).toBe(true)
  await kill(third.running)
})

test('what a broker holds for 200 uploads and 200 readers that take nothing is bounded', {
  timeout: 240_000,
}, async () => {
  const { running, url } = await start(await tempDir())
  let marks = 0
  const most = async (): Promise<{ external: number; heap: number; rss: number }> => {
    const mark = `mark-${++marks}`
    running.process.stdin?.write(`${mark}\n`)
    const found = await running.printed(new RegExp(`${mark} (.*)`))
    return JSON.parse(found[1] as string)
  }
  const connect = (): Promise<Peer[]> => Promise.all(Array.from({ length: 200 }, () => Peer.connect(url)))
  const [writers, readers] = [await connect(), await connect()]
  await Promise.all(writers.map((peer, i) => peer.attach(`t${i}`, { producer: 'w' })))
  const [source] = readers as [Peer]
  await source.attach('big', { producer: 'b' })
  const content = contentOf(32 * partBytes)
  await upload(source, { uploadId: 'big' }, content)
  await source.append({ sequence: 0 }, large('big', content))
  await Promise.all(readers.slice(1).map((peer) => peer.attach('big')))
  await most()
  const before = await most()
  for (const peer of readers) {
    for (let i = 0; i < 24; i++) void peer.ask(UP.fetch, 0, 0, i * partBytes, partBytes)
    peer.socket.pause()
  }
  const small = contentOf(2 * partBytes)
  const stored = await Promise.all(
    writers.map(async (peer) => {
      await upload(peer, { uploadId: 'u' }, small)
      return peer.append({ sequence: 0 }, large('u', small))
    }),
  )
  expect(stored).toEqual(writers.map(() => 0))
  const after = await most()
  const growth = after.external + after.heap - before.external - before.heap
  console.log(`held ${(growth / MIB).toFixed(1)} MiB more, of ${(after.rss / MIB).toFixed(0)} MiB resident at most`)
  expect(growth).toBeLessThan(32 * MIB)
  for (const peer of [...writers, ...readers]) peer.socket.terminate()
})
