/**
 * A broker in a process of its own, for tests that kill it or watch its memory: `broker-process.ts DIR`. It prints its URL; for
 * each line on its standard input it prints what it held at most since the line before, in bytes.
 */

import { createInterface } from 'node:readline'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { startBroker } from '../../broker/index.ts'

const SAMPLE_MS = 50

// What is held is what a collection leaves; when V8 collects is its own affair.
setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const broker = await startBroker({ port: 0, dataDir: process.argv[2] as string, lingerMs: 'forever' })
let most = { external: 0, heap: 0, rss: 0 }
const sample = (): void => {
  const { rss } = process.memoryUsage()
  // Buffers are swept behind a collection; the next one waits for that.
  collect()
  collect()
  const { external, heapUsed } = process.memoryUsage()
  most = {
    external: Math.max(most.external, external),
    heap: Math.max(most.heap, heapUsed),
    rss: Math.max(most.rss, rss),
  }
}
setInterval(sample, SAMPLE_MS)
createInterface({ input: process.stdin }).on('line', (line) => {
  sample()
  console.log(`${line} ${JSON.stringify(most)}`)
  most = { external: 0, heap: 0, rss: 0 }
})
console.log(`url ${broker.url}`)
