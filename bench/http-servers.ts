/** The servers that scenario `http` asks, all by the Durable Streams protocol: the product, and the reference server on files and in memory. */

import { BrokerProcess } from './broker-process.ts'
import { endChild, removeDirectory, startChild, temporaryDirectory } from './child.ts'

export interface HttpTarget {
  readonly name: string
  readonly setup: string
  start(): Promise<HttpTargetServer>
}

export interface HttpTargetServer {
  readonly port: number
  readonly pid: number
  /** What it answers with 404 may be stored all the same, and is sent again: version 0.3.7 of the reference server does so on files. */
  readonly mayRepeat: boolean
  /** Path of a stream by its number. */
  path(stream: number): string
  stop(): Promise<void>
}

const PEER_MAIN = 'peers/durable-streams-main'

const litetopic: HttpTarget = {
  name: 'litetopic',
  setup: 'fsync on',
  async start() {
    const broker = await BrokerProcess.start()
    const { port } = new URL(broker.url)
    return {
      port: Number(port),
      pid: broker.pid,
      mayRepeat: false,
      path: (stream) => `/v1/stream/bench/${stream}`,
      stop: () => broker.stop(),
    }
  },
}

const durableStreams = (name: string, onFiles: boolean): HttpTarget => ({
  name,
  setup: `@durable-streams/server ${onFiles ? 'with dataDir' : 'in memory'}`,
  async start() {
    const dataDir = onFiles ? await temporaryDirectory() : ''
    const { child, first: port } = await startChild<number>(PEER_MAIN, [dataDir, '0'])
    return {
      port,
      pid: child.pid ?? 0,
      mayRepeat: onFiles,
      path: (stream) => `/bench/${stream}`,
      async stop() {
        await endChild(child)
        if (onFiles) await removeDirectory(dataDir)
      },
    }
  },
})

/** The product first; the others are compared with it. */
export const HTTP_TARGETS: readonly HttpTarget[] = [
  litetopic,
  durableStreams('durable-streams-files', true),
  durableStreams('durable-streams-memory', false),
]
