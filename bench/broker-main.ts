/**
 * The process of the broker that is measured: the product's broker on the product's store. Writes of the journal are counted
 * where the store opens LevelDB, because the size of a commit cannot be seen from outside.
 */

import { startBroker } from '../broker/index.ts'
import { openLevelStore } from '../storage/index.ts'
import { type OpenLevel, openLevel } from '../storage/leveldb/level-handle.ts'
import type { BrokerCounts, BrokerReady, BrokerRequests, BrokerSettings } from './broker-process.ts'
import { collected } from './memory.ts'
import { answerParent } from './requests.ts'

const { dataDir, ...settings } = JSON.parse(process.argv[2] ?? '{}') as BrokerSettings
const counts: BrokerCounts = { commits: 0, commitBytes: 0, writes: 0, writtenBytes: 0 }

const counting: OpenLevel = async (path, options) => {
  const handle = await openLevel(path, options)
  const isJournal = path.endsWith('journal')
  const { write } = handle
  handle.write = (changes, sync) => {
    let bytes = 0
    for (const { key, value } of changes) bytes += key.length + (value?.length ?? 0)
    counts.writes++
    counts.writtenBytes += bytes
    if (isJournal && sync) {
      counts.commits++
      counts.commitBytes += bytes
    }
    return write.call(handle, changes, sync)
  }
  return handle
}

const store = () => openLevelStore(dataDir, { open: counting })
const startedMs = performance.now()
const broker = await startBroker({ ...settings, store, log: (line) => console.error(line) })
const startMs = performance.now() - startedMs

const requests: BrokerRequests = {
  counts: () => counts,
  stats: () => {
    const { residentTopics, attachments, connections, reclaimed } = broker.stats()
    return { residentTopics, attachments, connections, reclaimed }
  },
  collect: collected,
}
answerParent(requests)
// Without whoever started it there is nothing left to do.
process.on('disconnect', () => process.exit(1))
process.once('SIGTERM', async () => {
  await broker.close()
  process.exit(0)
})
const ready: BrokerReady = { url: broker.url, port: broker.port, startMs }
process.send?.(ready)
