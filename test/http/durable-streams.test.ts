/** The Durable Streams protocol as its own test suite sees it: unmodified, against a broker on a disk that syncs. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runConformanceTests } from '@durable-streams/server-conformance-tests'
import { afterAll, beforeAll } from 'vitest'
import { type Broker, startBroker } from '../../broker/index.ts'

const config = { baseUrl: '', subscriptions: true }
let dataDir: string
let broker: Broker

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'litetopic-streams-'))
  broker = await startBroker({ port: 0, dataDir, webhookHosts: ['127.0.0.1'], allowOrigins: ['*'] })
  config.baseUrl = `http://${broker.host}:${broker.port}`
})

afterAll(async () => {
  await broker.close()
  await rm(dataDir, { recursive: true, force: true })
})

runConformanceTests(config)
