/** The product as its own peer: the same workloads through its public client, with fsync. */

import { type Broker, connect, type Session, type StreamWriter } from '../../client/index.ts'
import { BrokerProcess } from '../broker-process.ts'
import { inBatches, openWriters } from '../token-load.ts'
import { type Peer, type PeerServer, type TakeToken, Window } from './peer.ts'
import { diskBytes } from './server-process.ts'

const SESSIONS_IN_FLIGHT = 2_000

export const litetopic: Peer = {
  name: 'litetopic',
  setup: 'durability fsync; one connection, a token stream per topic, the client decides what waits for what',
  missing: async () => null,
  start: async () => new LitetopicServer(await BrokerProcess.start()),
}

class LitetopicServer implements PeerServer {
  private readonly server: BrokerProcess
  private broker: Broker
  private writers: StreamWriter[] = []
  private sessions: Session<unknown>[] = []
  private readonly window = new Window(SESSIONS_IN_FLIGHT)

  constructor(server: BrokerProcess) {
    this.server = server
    this.broker = connect(server.url)
  }

  async open(topics: number): Promise<void> {
    this.writers = await openWriters(this.broker, 't', topics)
  }

  write(topic: number, text: string): Promise<void> | null {
    const writer = this.writers[topic] as StreamWriter
    return writer.write(text) ? null : writer.ready
  }

  create(topic: number, text: string): Promise<void> | null {
    const room = this.window.enter()
    this.broker
      .session(`t/${topic}`)
      .then(async (session) => {
        this.sessions.push(session)
        await session.append(text)
        this.window.leave()
      })
      .catch((error) => this.window.fail(error))
    return room
  }

  async flush(): Promise<void> {
    await this.window.empty()
    await Promise.all(this.writers.map((writer) => writer.flush()))
  }

  async readAll(topics: number, each: number, take: TakeToken): Promise<void> {
    await inBatches(topics, async (topic) => {
      const session = await this.broker.session(`t/${topic}`, { observe: true })
      let left = each
      for await (const records of session.batches({ from: 'start', raw: true })) {
        for (const record of records) {
          if (record.kind !== 'token') continue
          take(topic, String(record.text))
          left--
        }
        if (left <= 0) break
      }
      await session.close()
    })
  }

  async readFirst(topic: number): Promise<string> {
    const session = await this.broker.session(`t/${topic}`, { observe: true })
    try {
      for await (const record of session.records({ from: 'start', raw: true })) {
        if (record.kind === 'message') return String(record.value)
      }
    } finally {
      await session.close()
    }
    return ''
  }

  async release(): Promise<void> {
    const { sessions } = this
    this.sessions = []
    await inBatches(sessions.length, async (i) => sessions[i]?.close())
  }

  anonBytes(): number {
    return this.server.anonBytes()
  }

  diskBytes(): Promise<number> {
    return diskBytes(this.server.dataDir)
  }

  async shutDown(): Promise<void> {
    await this.broker.close()
    await this.server.shutDown()
  }

  async startAgain(): Promise<void> {
    await this.server.restart()
    this.broker = connect(this.server.url)
  }

  async stop(): Promise<void> {
    await this.broker.close()
    await this.server.stop()
  }
}
