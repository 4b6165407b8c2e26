/** A process with many readers of one topic, each on a connection of its own, which checks and times what each of them gets. */

import { type Broker, connect } from '../client/index.ts'
import type { CrowdRequests, CrowdSettings } from './crowd.ts'
import { answerParent } from './requests.ts'
import { inBatches, TokenReaders } from './token-load.ts'
import { Traffic } from './traffic.ts'

const { url, topic, readers: count } = JSON.parse(process.argv[2] ?? '{}') as CrowdSettings
const traffic = new Traffic()
const readers = new TokenReaders()
const brokers: Broker[] = await inBatches(count, async () => {
  const broker = connect(url, { webSocket: traffic.webSocket })
  readers.add(await broker.session(topic, { observe: true }))
  return broker
})
let delivery = readers.time(1, () => Number.NaN)

const requests: CrowdRequests = {
  time({ beganMs, everyMs }) {
    traffic.reset()
    delivery = readers.time(1, (_, index) => beganMs - performance.timeOrigin + index * everyMs)
  },
  async done(tokensEach) {
    await readers.reached(count * tokensEach)
    const endedMs = performance.timeOrigin + performance.now()
    readers.check(tokensEach)
    return { endedMs, frames: traffic.receivedMessages, buckets: delivery.buckets() }
  },
  async close() {
    await inBatches(brokers.length, async (i) => brokers[i]?.close())
  },
}
answerParent(requests)
process.on('disconnect', () => process.exit(0))
process.send?.('ready')
