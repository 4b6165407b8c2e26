/** Work on many items: how much of it is done in one turn of the loop, and in which order. */

import { expect, test } from 'vitest'
import { Portions } from '../../broker/portions.ts'
import { TestBroker } from './brokers.ts'
import { eventually, turn } from './virtual-clock.ts'

test('a little is done at once, and what is beyond it in portions, in order', async () => {
  const done: number[] = []
  const portions = new Portions<number>(3, (item) => void done.push(item))
  for (let item = 0; item < 8; item++) portions.add(item)
  expect(done).toEqual([0, 1, 2])
  await turn()
  expect(done).toEqual([0, 1, 2, 3, 4, 5])
  portions.add(8)
  expect(done.length).toBe(6)
  await turn()
  expect(done).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8])
  portions.add(9)
  expect(done.length).toBe(9)
  await turn()
  expect(done.length).toBe(10)
  await turn()
  portions.add(10)
  expect(done.length).toBe(11)
})

test('a connection that ends lets go of all its topics, however many', async () => {
  const topics = 1_200
  const broker = await TestBroker.start({ lingerMs: 0 })
  const peer = await broker.peer()
  const names = Array.from({ length: topics }, (_, i) => `many/${i}`)
  await Promise.all(peer.together(() => names.map((name, handle) => peer.attach(name, {}, handle))))
  await broker.drop(peer)
  expect(broker.broker.stats().attachments).toBe(0)
  await eventually(() => broker.broker.stats().reclaimed === topics)
})
