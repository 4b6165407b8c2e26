/** What broker and clients hold at some moment of `soak`. */

import { readdir, stat } from 'node:fs/promises'
import { join, sep } from 'node:path'
import type { Broker } from '../client/index.ts'
import type { BrokerProcess } from './broker-process.ts'
import { cpuMs, openFiles, resident } from './memory.ts'
import type { SoakLoad } from './soak-load.ts'

/** Those that take a collection. */
export type HeapSample = {
  brokerHeapBytes: number
  brokerExternalBytes: number
  clientsHeapBytes: number
  clientsExternalBytes: number
}

export type SoakSample = Partial<HeapSample> & {
  /** Since the churn began. */
  seconds: number
  brokerRssBytes: number
  brokerAnonBytes: number
  clientsAnonBytes: number
  openFiles: number
  diskBytes: number
  diskFiles: number
  journalBytes: number
  /** As the broker lists them. */
  topics: number
  topicsInMemory: number
  attachments: number
  connections: number
  /** Since the clients were started. */
  sessions: number
  /** CPU time since they were started. */
  brokerCpuMs: number
  clientsCpuMs: number
}

export interface Sampled {
  readonly broker: BrokerProcess
  readonly load: SoakLoad
  /** A client that asks what topics there are. */
  readonly asking: Broker
}

/** Rejects with what the load found wrong. */
export async function sample({ broker, load, asking }: Sampled, seconds: number): Promise<SoakSample> {
  const { sessions } = await load.ask('counts')
  const { residentTopics, attachments, connections } = await broker.ask('stats')
  const { rssBytes, anonBytes } = resident(broker.pid)
  return {
    seconds,
    brokerRssBytes: rssBytes,
    brokerAnonBytes: anonBytes,
    clientsAnonBytes: resident(load.pid).anonBytes,
    openFiles: openFiles(broker.pid),
    ...(await diskUse(broker.dataDir)),
    topics: await countTopics(asking),
    topicsInMemory: residentTopics,
    attachments,
    connections,
    sessions,
    brokerCpuMs: cpuMs(broker.pid),
    clientsCpuMs: cpuMs(load.pid),
  }
}

/** Has both collect. */
export async function sampleHeaps({ broker, load }: Sampled): Promise<HeapSample> {
  const ofBroker = await broker.ask('collect')
  const ofClients = await load.ask('collect')
  return {
    brokerHeapBytes: ofBroker.heapBytes,
    brokerExternalBytes: ofBroker.externalBytes,
    clientsHeapBytes: ofClients.heapBytes,
    clientsExternalBytes: ofClients.externalBytes,
  }
}

async function countTopics(asking: Broker): Promise<number> {
  for (let count = 0, after: string | undefined; ; ) {
    const { topics, more } = await asking.list({ after })
    count += topics.length
    if (!more) return count
    after = topics.at(-1)?.name
  }
}

async function diskUse(directory: string): Promise<Pick<SoakSample, 'diskBytes' | 'diskFiles' | 'journalBytes'>> {
  const use = { diskBytes: 0, diskFiles: 0, journalBytes: 0 }
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    // LevelDB may delete it meanwhile.
    const size = (await stat(path).catch(() => null))?.size
    if (size === undefined) continue
    use.diskFiles++
    use.diskBytes += size
    if (path.includes(`${sep}journal${sep}`)) use.journalBytes += size
  }
  return use
}
