/** Listing topics by prefix, page by page, and describing one. */

import { describe, expect, test } from 'vitest'
import { UP } from '../../protocol/index.ts'
import { message, TestBroker } from './brokers.ts'
import { HeldStore } from './held-store.ts'
import { codeOf, type Peer } from './peer.ts'
import { eventually } from './virtual-clock.ts'

async function pages(peer: Peer, prefix: string, limit: number): Promise<string[]> {
  const names: string[] = []
  for (let more = true; more; ) {
    const page = await peer.ask(UP.list, prefix, { after: names.at(-1), limit })
    names.push(...page.topics.map(({ name }) => name))
    more = page.more
  }
  return names
}

const NAMES = ['support/1', 'support/10', 'support/2', 'support', 'support2', 'team/a/b', 'Team', 'support-x']

describe('listing', () => {
  test('gives the topics of a prefix in byte order, whole segments only, from memory and table', async () => {
    const broker = await TestBroker.start({ residencyIdleMs: 100 })
    const peer = await broker.peer()
    for (const [i, name] of NAMES.slice(0, 4).entries()) await peer.attach(name, {}, i)
    await broker.drop(peer)
    await broker.dormant()
    const other = await broker.peer()
    for (const [i, name] of NAMES.slice(4).entries()) await other.attach(name, {}, i)
    const sorted = [...NAMES].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    for (const limit of [1, 2, 3, 100]) {
      expect(await pages(other, '', limit)).toEqual(sorted)
      const support = ['support', 'support/1', 'support/10', 'support/2']
      expect(await pages(other, 'support', limit)).toEqual(support)
      expect(await pages(other, 'support/', limit)).toEqual(support)
      expect(await pages(other, 'none', limit)).toEqual([])
    }
    expect(await codeOf(other.ask(UP.list, 'a//b', {}))).toBe('BAD_NAME')
    expect(await codeOf(other.ask(UP.list, '', { limit: 0 }))).toBe('BAD_REQUEST')
  })

  test('leaves out what was deleted, wherever it was', async () => {
    const broker = await TestBroker.start({ residencyIdleMs: 100 })
    const peer = await broker.peer()
    for (let i = 0; i < 10; i++) await peer.attach(`t/${i}`, {}, i)
    await broker.drop(peer)
    await broker.dormant()
    const other = await broker.peer()
    for (const name of ['z/1', 'z/2', 'z/3', 'z/4']) await other.attach(name, {}, Number(name.slice(2)))
    for (const i of [0, 1, 2, 3, 7]) await other.ask(UP.delete, `t/${i}`, null)
    await other.ask(UP.delete, 'z/2', null)
    const left = ['t/4', 't/5', 't/6', 't/8', 't/9', 'z/1', 'z/3', 'z/4']
    for (const limit of [1, 2, 3, 100]) expect([limit, await pages(other, '', limit)]).toEqual([limit, left])
  })

  test('can be gone on with when all topics of a page are deleted while it is read', async () => {
    const store = await HeldStore.open()
    const broker = await TestBroker.start({ store })
    const [peer, other] = [await broker.peer(), await broker.peer()]
    for (const [i, name] of ['a', 'b', 'c'].entries()) await peer.attach(name, {}, i)
    store.hold()
    const asked = other.ask(UP.list, '', { limit: 1 })
    await eventually(() => store.waiting > 0)
    await peer.ask(UP.delete, 'a', null)
    store.release()
    const { topics, more } = await asked
    expect([topics.map(({ name }) => name), more]).toEqual([['b'], true])
  })

  test('shows what is committed, and after a kill the same', async () => {
    const broker = await TestBroker.start()
    const peer = await broker.peer()
    await peer.attach('a', { producer: 'p' })
    await peer.append({ sequence: 0 }, message('hi'))
    const shown = async (at: Peer) => {
      const { topics } = await at.ask(UP.list, '', {})
      return topics.map(({ name, nextOffset, epoch, bytes }) => ({ name, nextOffset, epoch, bytes }))
    }
    const before = await shown(peer)
    expect(before).toMatchObject([{ name: 'a', nextOffset: 1 }])
    expect(await shown(await (await broker.kill()).peer())).toEqual(before)
  })
})

describe('describing', () => {
  test('tells of attachments and streams, and of no topic that is not there', async () => {
    const broker = await TestBroker.start()
    const peer = await broker.peer()
    await peer.attach('a', { producer: 'p' })
    await peer.attach('a', { observe: true }, 1)
    await peer.ask(UP.openStream, 0, 0, 0, 's', 'create')
    expect(await peer.ask(UP.describe, 'a')).toMatchObject({
      name: 'a',
      hold: 'attached',
      residency: 'resident',
      attachments: 2,
      streams: [{ streamId: 's', state: 'open', live: true }],
      closed: false,
    })
    expect(await codeOf(peer.ask(UP.describe, 'b'))).toBe('NOT_FOUND')
    expect(await codeOf(peer.ask(UP.describe, '../b'))).toBe('BAD_NAME')
    expect(await codeOf(peer.ask(UP.delete, '/b', null))).toBe('BAD_NAME')
  })
})
