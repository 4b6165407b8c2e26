/** NATS JetStream: one stream in files, a subject per topic, acknowledgements in flight. */

import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type JetStreamManager, jetstream, jetstreamManager, RetentionPolicy, StorageType } from '@nats-io/jetstream'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { removeDirectory, temporaryDirectory } from '../child.ts'
import { type Peer, type PeerServer, type TakeToken, Window } from './peer.ts'
import { ServerProcess, versionOf } from './server-process.ts'

const STREAM = 'TOKENS'
const SUBJECT = 't.'
/** `publish` of the client slows down with more on their way: 31,000 tokens/s with 256, 19,000 with 4,096. */
const PUBLISHES_IN_FLIGHT = 256
/** 155,000 tokens/s with 256 on their way, 202,000 with 1,024, 210,000 with 4,096. */
const ACKS_IN_FLIGHT = 4_096
const READ_AHEAD = 5_000
const TIMEOUT_MS = 60_000

interface Variant {
  readonly name: string
  /** `client`: its `publish`. `inbox`: a core publish whose acknowledgement goes to one inbox for all. */
  readonly publish: 'client' | 'inbox'
  readonly syncAlways: boolean
}

type Publish = (subject: string, text: string) => void

/** As its client documents it. */
export const jetstreamPeer = variant({ name: 'jetstream', publish: 'client', syncAlways: false })
/** The same server and the same acknowledgements, without the client's cost per request. */
export const jetstreamInbox = variant({ name: 'jetstream-inbox', publish: 'inbox', syncAlways: false })
export const jetstreamSynced = variant({ name: 'jetstream-synced', publish: 'inbox', syncAlways: true })

function variant({ name, publish, syncAlways }: Variant): Peer {
  const how =
    publish === 'client' ? `publish, ${PUBLISHES_IN_FLIGHT}` : `publish to an inbox of acks, ${ACKS_IN_FLIGHT}`
  return {
    name,
    setup: `file storage, sync_interval ${syncAlways ? 'always' : 'default'}; @nats-io, ${how} in flight`,
    missing: () => missing(syncAlways),
    async start() {
      const server = await ServerProcess.start('nats-server', async (dataDir, port) => [
        ...['-c', await configure(dataDir, port, syncAlways)],
        ...['-l', join(dataDir, 'log')],
      ])
      return JetStreamServer.over(server, publish)
    },
  }
}

/** Asks the server whether it takes the configuration. */
async function missing(syncAlways: boolean): Promise<string | null> {
  const version = await versionOf('nats-server')
  if (version === null) return 'nats-server is not installed'
  const dir = await temporaryDirectory()
  try {
    await promisify(execFile)('nats-server', ['-t', '-c', await configure(dir, 0, syncAlways)])
    return null
  } catch (error) {
    const said = String((error as { stderr?: string }).stderr ?? error)
    return `${version} refuses its configuration: ${said.replaceAll(`${dir}/`, '').trim()}`
  } finally {
    await removeDirectory(dir)
  }
}

async function configure(dataDir: string, port: number, syncAlways: boolean): Promise<string> {
  const path = join(dataDir, 'nats.conf')
  const sync = syncAlways ? ', sync_interval: always' : ''
  await writeFile(path, `listen: "127.0.0.1:${port}"\njetstream { store_dir: "${dataDir}"${sync} }\n`)
  return path
}

class JetStreamServer implements PeerServer {
  private readonly server: ServerProcess
  private client: NatsConnection
  private manager: JetStreamManager
  private readonly how: Variant['publish']
  private publish: Publish
  private readonly window: Window

  private constructor(
    server: ServerProcess,
    client: NatsConnection,
    manager: JetStreamManager,
    how: Variant['publish'],
  ) {
    this.server = server
    this.client = client
    this.manager = manager
    this.how = how
    this.window = new Window(how === 'client' ? PUBLISHES_IN_FLIGHT : ACKS_IN_FLIGHT)
    this.publish = this.publisher()
  }

  static async over(server: ServerProcess, how: Variant['publish']): Promise<JetStreamServer> {
    const client = await connectTo(server)
    const manager = await answering(client)
    const [storage, retention] = [StorageType.File, RetentionPolicy.Limits]
    await manager.streams.add({ name: STREAM, subjects: [`${SUBJECT}*`], storage, retention, allow_direct: true })
    return new JetStreamServer(server, client, manager, how)
  }

  async open(): Promise<void> {}

  write(topic: number, text: string): Promise<void> | null {
    const room = this.window.enter()
    this.publish(SUBJECT + topic, text)
    return room
  }

  create(topic: number, text: string): Promise<void> | null {
    return this.write(topic, text)
  }

  flush(): Promise<void> {
    return this.window.empty()
  }

  async readAll(topics: number, _each: number, take: TakeToken): Promise<void> {
    const { messages } = (await this.manager.streams.info(STREAM)).state
    const consumer = await jetstream(this.client).consumers.get(STREAM)
    let left = messages
    for await (const message of await consumer.consume({ max_messages: READ_AHEAD })) {
      const topic = Number(message.subject.slice(SUBJECT.length))
      if (topic < topics) take(topic, message.string())
      if (--left === 0) break
    }
  }

  async readFirst(topic: number): Promise<string> {
    const found = await this.manager.streams.getMessage(STREAM, { last_by_subj: SUBJECT + topic })
    return found?.string() ?? ''
  }

  async release(): Promise<void> {}

  anonBytes(): number {
    return this.server.anonBytes()
  }

  diskBytes(): Promise<number> {
    return this.server.diskBytes()
  }

  async shutDown(): Promise<void> {
    await this.client.close()
    await this.server.shutDown()
  }

  async startAgain(): Promise<void> {
    await this.server.startAgain()
    this.client = await connectTo(this.server)
    this.manager = await answering(this.client)
    this.publish = this.publisher()
  }

  async stop(): Promise<void> {
    await this.client.close()
    await this.server.stop()
  }

  private publisher(): Publish {
    return this.how === 'client' ? this.throughClient() : this.throughInbox()
  }

  private throughClient(): Publish {
    const { window } = this
    const stream = jetstream(this.client, { timeout: TIMEOUT_MS })
    return (subject, text) => {
      stream.publish(subject, text).then(
        () => window.leave(),
        (error) => window.fail(error),
      )
    }
  }

  private throughInbox(): Publish {
    const { client, window } = this
    const reply = `acks.${process.pid}`
    client.subscribe(reply, {
      callback: (error, message) => {
        const said = error === null ? message.string() : error.message
        if (said.startsWith(`{"stream":"${STREAM}"`)) window.leave()
        else window.fail(`JetStream did not acknowledge: ${said}`)
      },
    })
    return (subject, text) => client.publish(subject, text, { reply })
  }
}

function connectTo(server: ServerProcess): Promise<NatsConnection> {
  const again = { waitOnFirstConnect: true, reconnectTimeWait: 20, maxReconnectAttempts: -1, reconnectJitter: 0 }
  return connect({ servers: `127.0.0.1:${server.port}`, timeout: TIMEOUT_MS, ...again })
}

/** The server listens before its streams are there. */
async function answering(client: NatsConnection): Promise<JetStreamManager> {
  for (;;) {
    try {
      return await jetstreamManager(client, { timeout: TIMEOUT_MS })
    } catch (error) {
      if (client.isClosed()) throw error
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }
}
