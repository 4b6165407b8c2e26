/** What the tests of the AI SDK integration share: a broker in memory, and clients of it. */

import { onTestFinished } from 'vitest'
import { type BrokerOptions, type Broker as Server, startBroker as start } from '../../broker/index.ts'
import { type Broker, connect } from '../../client/index.ts'
import { FaultyNetwork } from '../client/faulty-network.ts'

/** A writer that is gone is lost at once, unless it has a grace. */
export async function serve(streamGraceMs = 0): Promise<Server> {
  const server = await startBroker({ port: 0, dataDir: null, streamGraceMs })
  onTestFinished(() => server.close())
  return server
}

export function client(server: Server, network = new FaultyNetwork()): Broker {
  const broker = connect(server.url, { webSocket: network.open, reconnect: { minMs: 1, maxMs: 5 } })
  onTestFinished(() => {
    network.down = false
    return broker.close().catch(() => {})
  })
  return broker
}

/** All of it. */
export async function collect<T>(source: AsyncIterable<T> | ReadableStream<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of source as AsyncIterable<T>) all.push(item)
  return all
}

/** One that pages of other origins may use, as that of the guide is. */
function startBroker(options: BrokerOptions): Promise<Server> {
  return start({ ...options, allowOrigins: ['*'] })
}
