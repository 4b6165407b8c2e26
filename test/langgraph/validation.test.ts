/** LangGraph's own validation of checkpointers, unmodified, against a real broker. */

import { deltaChannelHistoryTests, validate } from '@langchain/langgraph-checkpoint-validation'
import * as vitest from 'vitest'
import { type Broker as Server, startBroker } from '../../broker/index.ts'
import { type Broker, connect } from '../../client/index.ts'
import { LitetopicSaver } from '../../client/langgraph/index.ts'

// It takes these from the global scope.
const { describe, it, expect, beforeAll, afterAll, beforeEach, afterEach } = vitest
Object.assign(globalThis, { describe, it, expect, beforeAll, afterAll, beforeEach, afterEach })

let server: Server
let broker: Broker
let made = 0

const initializer = {
  checkpointerName: 'LitetopicSaver',
  // Each has its threads for itself.
  createCheckpointer: () => new LitetopicSaver(broker, { prefix: `saver-${++made}` }),
  destroyCheckpointer: (saver: LitetopicSaver) => saver.close(),
}

vitest.describe('the checkpointer', () => {
  vitest.beforeAll(async () => {
    server = await startBroker({ port: 0, dataDir: null })
    broker = connect(server.url)
  })

  vitest.afterAll(async () => {
    await broker.close()
    await server.close()
  })

  validate(initializer)
  // Not part of `validate`; LangGraph runs it for its own checkpointers.
  deltaChannelHistoryTests(initializer)
})
