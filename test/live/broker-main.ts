/** A broker as a process of its own that tells its parent how much memory it takes: `broker-main.ts OPTIONS`, as JSON. */

import { type BrokerOptions, startBroker } from '../../broker/index.ts'
import type { LiveAnswer, LiveQuestion } from './live-broker.ts'

const options = JSON.parse(String(process.argv[2])) as BrokerOptions
const broker = await startBroker({ port: 0, ...options, log: (line) => console.error(line) })
const tell = (answer: LiveAnswer): void => void process.send?.(answer)

process.on('message', (question: LiveQuestion) => {
  if (question === 'memory') {
    globalThis.gc?.()
    tell({ memory: process.memoryUsage() })
  } else if (question === 'stats') tell({ stats: broker.stats() })
  else {
    void broker.close().then(() => process.exit(0))
  }
})
process.on('disconnect', () => process.exit(1))
tell({ url: broker.url })
