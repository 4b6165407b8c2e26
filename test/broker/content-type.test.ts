/** The content type of a topic: given by who creates it, told to whoever asks, kept for as long as the topic. */

import { expect, test } from 'vitest'
import { UP } from '../../protocol/index.ts'
import { message, TestBroker } from './brokers.ts'
import { codeOf } from './peer.ts'

const contentType = 'text/plain; charset=utf-8'

test('is what the one says who creates the topic, and told to all', async () => {
  const broker = await TestBroker.start()
  const peer = await broker.peer()
  expect(await peer.attach('a', { contentType })).toMatchObject({ created: true, contentType })
  expect(await peer.attach('a', { contentType: 'other/type' }, 1)).toMatchObject({ created: false, contentType })
  expect(await peer.ask(UP.describe, 'a')).toMatchObject({ contentType })
  expect((await peer.ask(UP.list, 'a', {})).topics).toMatchObject([{ contentType }])
  expect(await peer.attach('b', {}, 2)).not.toHaveProperty('contentType')
})

test('is refused as BAD_REQUEST unless it is 1 to 255 printable characters', async () => {
  const peer = await (await TestBroker.start()).peer()
  for (const wrong of ['', ' a/b', 'a/b\n', 'a/ü']) {
    expect(await codeOf(peer.attach('a', { contentType: wrong })), wrong).toBe('BAD_REQUEST')
  }
  expect((await peer.ask(UP.list, '', {})).topics).toEqual([])
})

test('is there again after a crash, and after the topic was brought into the table and the broker restarted', async () => {
  const broker = await TestBroker.start()
  const peer = await broker.peer()
  await peer.attach('a', { contentType, producer: 'p' })
  await peer.append({ sequence: 0 }, message('hi'))
  const killed = await broker.kill()
  expect(await (await killed.peer()).ask(UP.describe, 'a')).toMatchObject({ contentType, nextOffset: 1 })
  const restarted = await (await killed.restart()).restart()
  expect(await (await restarted.peer()).ask(UP.describe, 'a')).toMatchObject({ contentType, nextOffset: 1 })
})
