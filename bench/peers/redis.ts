/** Redis Streams: a stream per topic, an XADD per token, in pipelines of ioredis. */

import { Redis } from 'ioredis'
import { type Peer, type PeerServer, type TakeToken, Window } from './peer.ts'
import { ServerProcess, versionOf } from './server-process.ts'

/** With 1,000 to 10,000 commands per pipeline and 2 to 8 of them on their way it was within 7 % of the best. */
const PIPELINE_COMMANDS = 1_000
const PIPELINES_IN_FLIGHT = 8
const TOPICS_PER_READ = 100

type Entry = readonly [id: string, fields: readonly string[]]

/** `appendfsync`: when the append-only file is synced; with `always`, before each answer. */
export function redis(appendfsync: 'always' | 'everysec'): Peer {
  return {
    name: `redis-${appendfsync}`,
    setup: `appendonly yes, appendfsync ${appendfsync}; ioredis, ${PIPELINES_IN_FLIGHT} pipelines of ${PIPELINE_COMMANDS} XADD in flight`,
    async missing() {
      return (await versionOf('redis-server')) === null ? 'redis-server is not installed' : null
    },
    async start() {
      const server = await ServerProcess.start('redis-server', (dataDir, port) => [
        ...['--bind', '127.0.0.1', '--port', String(port), '--dir', dataDir],
        ...['--save', '', '--appendonly', 'yes', '--appendfsync', appendfsync],
      ])
      const started = new RedisServer(server)
      await started.ready()
      return started
    },
  }
}

class RedisServer implements PeerServer {
  private readonly server: ServerProcess
  private client: Redis
  private commands: string[][] = []
  private readonly window = new Window(PIPELINES_IN_FLIGHT)

  constructor(server: ServerProcess) {
    this.server = server
    this.client = this.connect()
  }

  async ready(): Promise<void> {
    await this.client.ping()
  }

  async open(): Promise<void> {}

  write(topic: number, text: string): Promise<void> | null {
    this.commands.push(['xadd', `t/${topic}`, '*', 't', text])
    return this.commands.length < PIPELINE_COMMANDS ? null : this.send()
  }

  create(topic: number, text: string): Promise<void> | null {
    return this.write(topic, text)
  }

  async flush(): Promise<void> {
    if (this.commands.length > 0) await this.send()
    await this.window.empty()
  }

  async readAll(topics: number, _each: number, take: TakeToken): Promise<void> {
    for (let first = 0; first < topics; first += TOPICS_PER_READ) {
      const length = Math.min(TOPICS_PER_READ, topics - first)
      const keys = Array.from({ length }, (_, i) => `t/${first + i}`)
      const streams = await this.client.xread('STREAMS', ...keys, ...keys.map(() => '0-0'))
      for (const [key, entries] of (streams ?? []) as [string, Entry[]][]) {
        const topic = Number(key.slice(2))
        for (const [, fields] of entries) take(topic, String(fields[1]))
      }
    }
  }

  async readFirst(topic: number): Promise<string> {
    const entries: Entry[] = await this.client.xrange(`t/${topic}`, '-', '+', 'COUNT', 1)
    return String(entries[0]?.[1][1])
  }

  async release(): Promise<void> {}

  anonBytes(): number {
    return this.server.anonBytes()
  }

  diskBytes(): Promise<number> {
    return this.server.diskBytes()
  }

  shutDown(): Promise<void> {
    this.client.disconnect()
    return this.server.shutDown()
  }

  async startAgain(): Promise<void> {
    await this.server.startAgain()
    this.client = this.connect()
  }

  stop(): Promise<void> {
    this.client.disconnect()
    return this.server.stop()
  }

  private send(): Promise<void> | null {
    const { commands, window } = this
    this.commands = []
    const room = window.enter()
    this.client
      .pipeline(commands)
      .exec()
      .then((results) => {
        const refused = results?.find(([error]) => error !== null)
        if (refused !== undefined) throw refused[0]
        window.leave()
      })
      .catch((error) => window.fail(error))
    return room
  }

  private connect(): Redis {
    const again = { retryStrategy: () => 20, maxRetriesPerRequest: null, maxLoadingRetryTime: 20 }
    const client = new Redis({ host: '127.0.0.1', port: this.server.port, ...again })
    // It says so while the server does not listen yet, and comes back by itself.
    client.on('error', () => undefined)
    return client
  }
}
