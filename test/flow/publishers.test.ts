/** Publishers that outrun the store, many at once, over real sockets: what they send is not begun with before there is room. */

import { expect, test } from 'vitest'
import { LIMITS } from '../../protocol/index.ts'
import { message, TestBroker } from '../broker/brokers.ts'
import { HeldStore } from '../broker/held-store.ts'
import type { Peer } from '../broker/peer.ts'

const PUBLISHERS = 60
const APPENDS = 8

test('many publishers together have no more under way than one, in order, and lose nothing', async () => {
  const store = await HeldStore.open()
  const broker = await TestBroker.start({ store })
  const bystander = await broker.peer()
  const peers: Peer[] = []
  for (let i = 0; i < PUBLISHERS; i++) {
    const peer = await broker.peer()
    await peer.attach(`t/${i}`, { producer: 'p' })
    peers.push(peer)
  }
  const open = store.holdJournal()
  const large = message('x'.repeat(100_000))
  const bases = peers.flatMap((peer) => {
    return Array.from({ length: APPENDS }, (_, sequence) => peer.append({ sequence }, large))
  })
  let most = 0
  for (let i = 0; i < 300; i++) {
    await bystander.roundTrip()
    most = Math.max(most, broker.broker.stats().uncommittedBytes)
  }
  // Without a bound it would be all that they send.
  expect(most).toBeGreaterThan(LIMITS.uncommittedBytes)
  expect(most).toBeLessThan(LIMITS.uncommittedBytes + LIMITS.appendBytes * 2)
  expect(PUBLISHERS * APPENDS * 100_000).toBeGreaterThan(LIMITS.uncommittedBytes * 4)
  open()
  expect(await Promise.all(bases)).toEqual(peers.flatMap(() => Array.from({ length: APPENDS }, (_, i) => i)))
})
