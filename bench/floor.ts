/**
 * Scenario `floor`: the physical limit. The bytes of a run of the product, in messages and commits of the same number and size,
 * over ws into LevelDB with fsync and back out, with nothing in between. What the product keeps of it is the cost of being a broker.
 */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { WebSocket } from 'ws'
import { LIMITS } from '../protocol/index.ts'
import { removeDirectory, startChild, temporaryDirectory } from './child.ts'
import { Histogram, round } from './histogram.ts'
import { type Context, type Figures, figureAt, figuresAt, type Scenario } from './scenario.ts'
import { measureTokens, seriesByTopics, tokensPerTopic, topicCounts } from './tokens.ts'

const SERVER = 'floor-server'
const WARM_UP_SHARE = 0.1

/** Sizes of one commit: how many messages and bytes go in, are stored, and come out. */
export interface FloorSizes {
  readonly messages: number
  readonly messageBytes: number
  readonly commitBytes: number
  readonly ackBytes: number
  readonly deliveries: number
  readonly deliveryBytes: number
}

export const floor: Scenario = {
  name: 'floor',
  summary: 'the physical limit: the bytes of a run of `tokens` over ws, into LevelDB with fsync, and back out',
  async run(params, context) {
    const known = figuresAt(context.earlier.get('tokens')?.results ?? {}, 'byTopics')
    const results: Record<string, Figures> = {}
    for (const topics of topicCounts(params)) {
      const product = figuresAt(known, String(topics))
      const hasRun = figureAt(product, 'tokens') > 0
      const measured = hasRun ? product : await measureTokens(topics, tokensPerTopic(params, topics), context)
      results[topics] = await measureFloor(measured, topics, context)
    }
    return { params: { size: params.size, durability: 'fsync' }, results: { byTopics: results } }
  },
  plots(outcome) {
    return [
      {
        title: 'The product against the physical limit',
        x: { label: 'topics', log: true },
        y: { label: 'tokens/s' },
        series: [
          { label: 'floor: no broker logic', points: seriesByTopics(outcome, 'tokensPerSecond') },
          { label: 'litetopic', points: seriesByTopics(outcome, 'productTokensPerSecond') },
        ],
      },
    ]
  },
}

async function measureFloor(product: Figures, topics: number, { progress }: Context): Promise<Figures> {
  const sizes = sizesOf(product)
  const tokens = figureAt(product, 'tokens')
  const commits = figureAt(product, 'traffic', 'commits')
  progress(`${topics} topics: ${commits} commits of ${sizes.commitBytes} bytes`)
  const directory = await temporaryDirectory()
  const { child, first: port } = await startChild<number>(SERVER, [JSON.stringify(sizes), directory])
  const run = new FloorRun(sizes, child, port)
  try {
    await run.connect()
    await run.publish(Math.max(1, Math.round(commits * WARM_UP_SHARE)))
    run.forget()
    const startedMs = performance.now()
    await run.publish(commits)
    const seconds = (performance.now() - startedMs) / 1000
    const tokensPerSecond = Math.round(tokens / seconds)
    return {
      tokensPerSecond,
      productTokensPerSecond: figureAt(product, 'tokensPerSecond'),
      productShare: round(figureAt(product, 'tokensPerSecond') / tokensPerSecond),
      commits,
      seconds: round(seconds),
      ackMs: run.ack.percentiles(),
      deliveryMs: run.delivery.percentiles(),
      perCommit: { ...sizes, tokens: round(tokens / commits) },
    }
  } finally {
    await run.close()
    await removeDirectory(directory)
  }
}

function sizesOf(product: Figures): FloorSizes {
  const of = (name: string): number => figureAt(product, 'traffic', name)
  const commits = of('commits')
  if (commits === 0) throw new Error('the run of tokens made no commit')
  const messages = Math.max(1, Math.round(of('publishedMessages') / commits))
  const deliveries = Math.max(1, Math.round(of('deliveredMessages') / commits))
  const each = (name: string, parts: number): number => Math.max(8, Math.round(of(name) / commits / parts))
  return {
    messages,
    messageBytes: each('publishedBytes', messages),
    commitBytes: each('commitBytes', 1),
    ackBytes: each('ackBytes', 1),
    deliveries,
    deliveryBytes: each('deliveredBytes', deliveries),
  }
}

/** One publisher and one reader, who checks that the bytes of each commit come back as they were sent, in order. */
class FloorRun {
  ack = new Histogram()
  delivery = new Histogram()
  private readonly sizes: FloorSizes
  private readonly child: ChildProcess
  private readonly publisher: WebSocket
  private readonly reader: WebSocket
  private readonly message: Buffer
  private readonly expected: Buffer
  private readonly startedMs: number[] = []
  /** Commits sent, acknowledged, and deliveries read, since the beginning. */
  private sent = 0
  private acked = 0
  private read = 0
  private goal = 0
  private wake: () => void = () => undefined
  private failure: Error | null = null

  constructor(sizes: FloorSizes, child: ChildProcess, port: number) {
    this.sizes = sizes
    this.child = child
    const options = { perMessageDeflate: false }
    this.publisher = new WebSocket(`ws://127.0.0.1:${port}/publisher`, options)
    this.reader = new WebSocket(`ws://127.0.0.1:${port}/reader`, options)
    this.message = Buffer.alloc(sizes.messageBytes, 'the same bytes ')
    this.expected = Buffer.concat(Array.from({ length: sizes.messages }, () => this.message))
    this.publisher.on('message', () => {
      this.ack.add(performance.now() - (this.startedMs[this.acked++] as number))
      this.wake()
    })
    this.reader.on('message', (data: Buffer) => this.receive(data))
    for (const socket of [this.publisher, this.reader]) {
      socket.on('close', () => this.fail(new Error('the server of floor closed the connection')))
      socket.on('error', (error) => this.fail(error))
    }
  }

  async connect(): Promise<void> {
    await Promise.all([once(this.publisher, 'open'), once(this.reader, 'open')])
  }

  /** Sends so many commits, with as much unacknowledged as the product's client has. Resolves when all were read. */
  async publish(commits: number): Promise<void> {
    const { messages, messageBytes } = this.sizes
    const window = Math.max(2, Math.floor(LIMITS.connectionBufferBytes / (messages * messageBytes)))
    this.goal += commits
    while (this.sent < this.goal || this.read < this.goal * this.sizes.deliveries) {
      if (this.failure !== null) throw this.failure
      if (this.sent < this.goal && this.sent - this.acked < window) this.sendCommit()
      else await new Promise<void>((resolve) => (this.wake = resolve))
    }
  }

  /** Times from now on. */
  forget(): void {
    this.ack = new Histogram()
    this.delivery = new Histogram()
  }

  async close(): Promise<void> {
    this.publisher.terminate()
    this.reader.terminate()
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    this.child.kill('SIGTERM')
    await once(this.child, 'exit')
  }

  private sendCommit(): void {
    this.startedMs.push(performance.now())
    for (let i = 0; i < this.sizes.messages; i++) {
      this.message.writeUInt32BE(this.sent * this.sizes.messages + i)
      // ws masks into a copy, so the bytes are free once it returns.
      this.publisher.send(this.message)
    }
    this.sent++
  }

  private receive(data: Buffer): void {
    const { deliveries, deliveryBytes, messages, messageBytes } = this.sizes
    const [commit, part] = [Math.floor(this.read / deliveries), this.read % deliveries]
    if (part === 0) {
      for (let i = 0; i < messages; i++) this.expected.writeUInt32BE(commit * messages + i, i * messageBytes)
    }
    const expected = this.expected.subarray(part * deliveryBytes, (part + 1) * deliveryBytes)
    if (data.length !== deliveryBytes || data.compare(expected, 0, expected.length, 0, expected.length) !== 0) {
      this.fail(new Error(`floor: commit ${commit} came back wrong`))
      return
    }
    this.read++
    if (part === deliveries - 1) this.delivery.add(performance.now() - (this.startedMs[commit] as number))
    this.wake()
  }

  private fail(error: Error): void {
    this.failure ??= error
    this.wake()
  }
}
