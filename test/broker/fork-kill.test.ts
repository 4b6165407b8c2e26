/** Forks and a broker in a process of its own, on LevelDB, that is killed in the middle of forking and deleting. */

import { afterEach, expect, test } from 'vitest'
import { UP } from '../../protocol/index.ts'
import { openLevelStore } from '../../storage/leveldb/level-store.ts'
import { INDEX } from '../../storage/store.ts'
import { verifyStore } from '../../storage/verify/verify.ts'
import { killAll, type Running, runScript } from '../cli/processes.ts'
import { Random } from '../random.ts'
import { Rig } from '../storage/shard-rig.ts'
import { message, tempDir } from './brokers.ts'
import { Peer } from './peer.ts'

afterEach(killAll)

async function start(dir: string): Promise<{ running: Running; peer: Peer }> {
  const running = runScript('test/broker/broker-process.ts', [dir], { input: '\n' })
  const [, url = ''] = await running.printed(/url (\S+)/)
  return { running, peer: await Peer.connect(url) }
}

async function stop({ process, ended }: Running, signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
  process.kill(signal)
  await ended
}

const long = (text: string) => message(text.padEnd(20_000, '.'))

/** First words of all messages of a topic. */
async function wordsOf(peer: Peer, name: string): Promise<string[]> {
  const { nextOffset } = await peer.attach(name, { create: false, observe: true }, 7)
  const reading = await peer.read({ start: true }, { raw: true, handle: 7 })
  await peer.until(() => reading.position >= nextOffset)
  await peer.ask(UP.detach, 7)
  return reading.messages.map((value) => value.replace('text:', '').replace(/\.*$/, ''))
}

test('what was answered before a SIGKILL is so, and in the end nothing is left', { timeout: 120_000 }, async () => {
  const dir = await tempDir()
  const random = new Random(7)
  /** What each topic has, as far as was answered. */
  const topics = new Map<string, string[]>()
  /** Deletions that were asked for and not answered. */
  let doubtful = new Set<string>()
  for (let round = 0; round < 2; round++) {
    const { running, peer } = await start(dir)
    for (const name of doubtful) if (!(await exists(peer, name))) topics.delete(name)
    doubtful = new Set()
    for (const [name, words] of topics) expect(await wordsOf(peer, name), name).toEqual(words)
    const root = `root/${round}`
    await peer.attach(root, { producer: 'p' })
    const words = Array.from({ length: 8 }, (_, i) => `${round}-${i}`)
    for (const [i, word] of words.entries()) await peer.append({ sequence: i }, long(word))
    topics.set(root, words)
    const answers: Promise<unknown>[] = []
    for (let i = 0; i < 40; i++) {
      const parent = random.pick([...topics.keys()])
      const has = topics.get(parent) as string[]
      const at = random.between(0, has.length)
      const as = `fork/${round}/${i}`
      if (random.chance(0.7) || parent === root) {
        const forked = peer.ask(UP.fork, parent, as, { at: { offset: at } })
        answers.push(forked.then(() => topics.set(as, has.slice(0, at))).catch(() => undefined))
      } else {
        doubtful.add(parent)
        const deleted = peer.ask(UP.delete, parent, null).then(() => doubtful.delete(parent) && topics.delete(parent))
        answers.push(deleted.catch(() => undefined))
      }
      if (i % 5 === 4) await answers.at(-1)
    }
    await stop(running, 'SIGKILL')
    await Promise.all(answers)
    const store = await openLevelStore(dir, { create: false })
    expect((await verifyStore(store)).damages).toEqual([])
    await store.close()
  }
  const { running, peer } = await start(dir)
  const { topics: left } = await peer.ask(UP.list, '', { limit: 1000 })
  for (const { name } of left) await peer.ask(UP.delete, name, null)
  await stop(running, 'SIGTERM')
  // What a stop leaves of the clearing, the next start does.
  const rig = await Rig.open(await openLevelStore(dir, { create: false }))
  await rig.shard.quiesce()
  const { store } = rig.shard
  for (const index of [INDEX.chunk, INDEX.fork, INDEX.hidden, INDEX.hiddenName, INDEX.garbage]) {
    expect(await store.table.scan({ gte: Buffer.of(index), lt: Buffer.of(index + 1) }), index.toString(16)).toEqual([])
  }
  expect((await verifyStore(store)).damages).toEqual([])
  await rig.shard.close()
})

async function exists(peer: Peer, name: string): Promise<boolean> {
  return peer.ask(UP.describe, name).then(
    () => true,
    () => false,
  )
}
