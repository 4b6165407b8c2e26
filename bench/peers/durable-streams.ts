/** The reference server of Durable Streams: a stream per topic over HTTP, what waits for a stream goes into its next POST. */

import type { ChildProcess } from 'node:child_process'
import { Agent, request } from 'node:http'
import { endChild, removeDirectory, startChild, temporaryDirectory } from '../child.ts'
import { resident } from '../memory.ts'
import { TOKEN_BYTES } from '../token-load.ts'
import { type Peer, type PeerServer, type TakeToken, Window } from './peer.ts'
import { diskBytes } from './server-process.ts'

const MAIN = 'peers/durable-streams-main'
/**
 * With more than one, version 0.3.7 answers some of them with 404 for streams that are there, before or after it has stored the
 * text: 4 of 3,000 requests with 2 in flight, 70 with 8, 995 with 64.
 */
const REQUESTS_IN_FLIGHT = 1
/** A tenth of the others' topics, so that making and reading them one by one does not take minutes. */
const MOST_TOPICS = 1_000
/** 40 per topic: about as many as the 4 MiB hold that a client of the product keeps unacknowledged over 10,000 topics. */
const TOKENS_IN_FLIGHT = 40_000

export const durableStreams: Peer = {
  name: 'durable-streams',
  setup: `@durable-streams/server with dataDir; HTTP keep-alive, ${REQUESTS_IN_FLIGHT} request and ${TOKENS_IN_FLIGHT} tokens in flight, all that waits for a stream in one POST`,
  mostTopics: MOST_TOPICS,
  missing: async () => null,
  async start() {
    const dataDir = await temporaryDirectory()
    const server = new DurableStreamsServer(dataDir)
    try {
      await server.startAgain()
      return server
    } catch (error) {
      await server.stop()
      throw error
    }
  },
}

class DurableStreamsServer implements PeerServer {
  private readonly dataDir: string
  private child: ChildProcess | null = null
  private port = 0
  private readonly agent = new Agent({ keepAlive: true, maxSockets: REQUESTS_IN_FLIGHT })
  private readonly window = new Window(TOKENS_IN_FLIGHT)
  private readonly requests = new Window(REQUESTS_IN_FLIGHT)
  /** What waits for a topic that has a request on its way, or waits for one. */
  private readonly waiting = new Map<number, string>()
  private readonly busy = new Set<number>()
  private readonly queue: number[] = []
  private posting = 0

  constructor(dataDir: string) {
    this.dataDir = dataDir
  }

  async open(topics: number): Promise<void> {
    for (let topic = 0; topic < topics; topic++) {
      const room = this.create(topic, '')
      if (room !== null) await room
    }
    await this.flush()
  }

  write(topic: number, text: string): Promise<void> | null {
    const before = this.waiting.get(topic)
    this.waiting.set(topic, before === undefined ? text : before + text)
    if (before === undefined && !this.busy.has(topic)) this.queue.push(topic)
    this.post()
    return this.window.enter()
  }

  create(topic: number, text: string): Promise<void> | null {
    const room = this.requests.enter()
    this.ask('PUT', `/t/${topic}`, text).then(
      () => this.requests.leave(),
      (error) => this.requests.fail(error),
    )
    return room
  }

  async flush(): Promise<void> {
    await this.requests.empty()
    await this.window.empty()
  }

  async readAll(topics: number, _each: number, take: TakeToken): Promise<void> {
    for (let first = 0; first < topics; first += REQUESTS_IN_FLIGHT) {
      const length = Math.min(REQUESTS_IN_FLIGHT, topics - first)
      const texts = await Promise.all(Array.from({ length }, (_, i) => this.read(first + i)))
      texts.forEach((text, i) => {
        for (let at = 0; at < text.length; at += TOKEN_BYTES) take(first + i, text.slice(at, at + TOKEN_BYTES))
      })
    }
  }

  readFirst(topic: number): Promise<string> {
    return this.read(topic)
  }

  async release(): Promise<void> {}

  anonBytes(): number {
    return resident(this.child?.pid ?? 0).anonBytes
  }

  diskBytes(): Promise<number> {
    return diskBytes(this.dataDir)
  }

  async shutDown(): Promise<void> {
    // It waits for open connections.
    this.agent.destroy()
    if (this.child !== null) await endChild(this.child)
  }

  async startAgain(): Promise<void> {
    const { child, first } = await startChild<number>(MAIN, [this.dataDir, String(this.port)])
    this.child = child
    this.port = first
  }

  async stop(): Promise<void> {
    await this.shutDown()
    await removeDirectory(this.dataDir)
  }

  private read(topic: number): Promise<string> {
    return this.ask('GET', `/t/${topic}?offset=-1`, '')
  }

  private post(): void {
    while (this.posting < REQUESTS_IN_FLIGHT) {
      const topic = this.queue.shift()
      if (topic === undefined) return
      const text = this.waiting.get(topic) ?? ''
      this.waiting.delete(topic)
      this.busy.add(topic)
      this.posting++
      this.ask('POST', `/t/${topic}`, text).then(
        () => this.posted(topic, text),
        (error) => this.window.fail(error),
      )
    }
  }

  private posted(topic: number, text: string): void {
    this.posting--
    this.busy.delete(topic)
    if (this.waiting.has(topic)) this.queue.push(topic)
    for (let i = 0; i < text.length; i += TOKEN_BYTES) this.window.leave()
    this.post()
  }

  private ask(method: string, path: string, body: string): Promise<string> {
    const headers = { 'content-type': 'text/plain', 'content-length': body.length }
    const at = { host: '127.0.0.1', port: this.port, agent: this.agent, method, path, headers }
    return new Promise((resolve, reject) => {
      const asked = request(at, (answer) => {
        let text = ''
        answer.setEncoding('latin1')
        answer.on('data', (part: string) => {
          text += part
        })
        answer.once('error', reject)
        answer.once('end', () => {
          const status = answer.statusCode ?? 0
          if (status >= 200 && status < 300) resolve(text)
          else reject(new Error(`${method} ${path} was answered ${status} ${text}`))
        })
      })
      asked.once('error', reject)
      asked.end(body)
    })
  }
}
