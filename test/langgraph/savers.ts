/** Savers of a test on a broker of its own, and what passes between them. */

import { afterEach } from 'vitest'
import { type BrokerOptions, type Broker as Server, startBroker } from '../../broker/index.ts'
import { type Broker, connect, type SocketFactory } from '../../client/index.ts'
import { LitetopicSaver, type LitetopicSaverOptions } from '../../client/langgraph/index.ts'
import { openSocket } from '../../client/websocket.ts'

const open: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close().catch(() => {})
})

/** Runs behind the test, the newest first. */
export function afterwards(close: () => Promise<unknown>): void {
  open.push(close)
}

/** In memory, unless told otherwise. */
export async function serve(options: BrokerOptions = {}): Promise<Server> {
  const server = await startBroker({ port: 0, dataDir: null, ...options })
  afterwards(() => server.close())
  return server
}

export function client(url: string, webSocket?: SocketFactory): Broker {
  const broker = connect(url, { reconnect: { minMs: 1, maxMs: 50 }, webSocket })
  afterwards(() => broker.close())
  return broker
}

/** A saver with a connection of its own, as in another process. */
export function saverAt(server: { readonly url: string }, options?: LitetopicSaverOptions): LitetopicSaver {
  return new LitetopicSaver(client(server.url), options)
}

/** Counts what a client sends and gets, and loses what it sends beyond a bound. */
export class Meter {
  sentBytes = 0
  gotBytes = 0
  /** What comes to more is lost. */
  readonly mostBytes: number

  constructor(mostBytes = Number.POSITIVE_INFINITY) {
    this.mostBytes = mostBytes
  }

  readonly open: SocketFactory = (url, events) => {
    const socket = openSocket(url, {
      ...events,
      message: (bytes) => {
        this.gotBytes += bytes.length
        events.message(bytes)
      },
    })
    return {
      send: (message) => {
        this.sentBytes += message.length
        if (this.sentBytes <= this.mostBytes) socket.send(message)
      },
      get bufferedBytes() {
        return socket.bufferedBytes
      },
      close: () => socket.close(),
      terminate: () => socket.terminate(),
    }
  }

  /** What `fn` has sent and got. */
  async during(fn: () => Promise<unknown>): Promise<{ sentBytes: number; gotBytes: number }> {
    const { sentBytes, gotBytes } = this
    await fn()
    return { sentBytes: this.sentBytes - sentBytes, gotBytes: this.gotBytes - gotBytes }
  }
}
