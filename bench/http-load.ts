/** The loads of scenario `http`: appends and reads over keep-alive connections, and event streams of many readers. */

import { setTimeout as sleep } from 'node:timers/promises'
import { cpuMs } from './cpu.ts'
import { Histogram, round } from './histogram.ts'
import { HttpConnection, requestBytes } from './http-connection.ts'
import type { HttpTargetServer } from './http-servers.ts'
import type { Figures } from './scenario.ts'

const TEXT = ['content-type: text/plain']
/** Bytes of what one append carries, with its number at the end. */
const APPEND_BYTES = 100
/** In each stream that is read. */
const READ_APPENDS = 10
/** The reference server on files may answer a stream that is there with 404: it is asked again, so often. */
const TRIES = 50

export interface RequestLoad {
  readonly connections: number
  readonly seconds: number
}

export interface EventLoad {
  readonly readers: number
  readonly perSecond: number
  readonly seconds: number
  /** When a server that does not keep up is given up. */
  readonly patienceSeconds: number
}

/** Each connection appends to a stream of its own, one request after the other; then what is stored is compared with what was sent. */
export async function measureAppends(server: HttpTargetServer, load: RequestLoad): Promise<Figures> {
  return withConnections(server, load.connections, async (connections) => {
    await Promise.all(connections.map((connection, i) => create(connection, server.path(i))))
    const sent = connections.map(() => 0)
    const figures = await asking(server, connections, load.seconds, async (connection, i) => {
      const number = sent[i] as number
      const { status } = await connection.ask(requestBytes('POST', server.path(i), TEXT, textOf(number)))
      if (status === 404) return false
      if (status !== 200 && status !== 204) throw new Error(`an append was answered ${status}`)
      sent[i] = number + 1
      return true
    })
    await Promise.all(connections.map((connection, i) => stored(connection, server, i, sent[i] as number)))
    return figures
  })
}

/** Each connection reads a stream of its own from its start, one request after the other. */
export async function measureReads(server: HttpTargetServer, load: RequestLoad): Promise<Figures> {
  return withConnections(server, load.connections, async (connections) => {
    const texts = await Promise.all(
      connections.map(async (connection, i) => {
        const path = server.path(i)
        await create(connection, path)
        for (let number = 0; number < READ_APPENDS; number++) await append(connection, path, number)
        return stored(connection, server, i, READ_APPENDS)
      }),
    )
    const figures = await asking(server, connections, load.seconds, async (connection, i) => {
      const { status, body } = await connection.ask(requestBytes('GET', `${server.path(i)}?offset=-1`))
      if (status === 404) return false
      if (status !== 200 || body !== texts[i])
        throw new Error(`a read was answered ${status} with ${body.length} bytes`)
      return true
    })
    return figures
  })
}

/** Readers of one stream by server-sent events, each on a connection of its own, while one more connection appends at a rate. */
export async function measureEvents(server: HttpTargetServer, load: EventLoad): Promise<Figures> {
  return withConnections(server, load.readers + 1, async (connections) => {
    const [writer, ...readers] = connections as [HttpConnection, ...HttpConnection[]]
    const path = server.path(0)
    const delivery = new Histogram()
    const everyMs = 1000 / load.perSecond
    const count = load.perSecond * load.seconds
    await create(writer, path)
    let beganMs = 0
    let left = readers.length
    let endedMs = 0
    let broken: Error | null = null
    const each = readers.map((reader) => {
      const events = new EventReader(server.mayRepeat, (number) => {
        const now = performance.now()
        delivery.add(now - beganMs - number * everyMs)
        if (number < count - 1) return
        left--
        endedMs = now
      })
      const failed = (error: Error): void => {
        broken ??= error
      }
      const hear = (text: string): void => {
        try {
          events.take(text)
        } catch (error) {
          failed(error as Error)
        }
      }
      return reader.follow(requestBytes('GET', `${path}?offset=-1&live=sse`), hear, failed)
    })
    await Promise.all(each)
    const cpuBefore = cpuMs(server.pid)
    beganMs = performance.now()
    const untilMs = beganMs + load.patienceSeconds * 1000
    for (let number = 0; number < count && performance.now() < untilMs; number++) {
      const waitMs = beganMs + number * everyMs - performance.now()
      if (waitMs > 1) await sleep(waitMs)
      await append(writer, path, number)
    }
    while (left > 0 && broken === null && performance.now() < untilMs) await sleep(10)
    if (broken !== null) throw broken
    const spentMs = cpuMs(server.pid) - cpuBefore
    const elapsedMs = (left > 0 ? performance.now() : endedMs) - beganMs
    return {
      deliveriesPerSecond: Math.round((delivery.samples * 1000) / elapsedMs),
      deliveryMs: delivery.percentiles(),
      /** Readers that did not get all within the time. */
      readersLate: left,
      cpuMicrosPerDelivery: round((spentMs * 1000) / Math.max(delivery.samples, 1)),
    }
  })
}

async function withConnections<T>(
  server: HttpTargetServer,
  count: number,
  work: (connections: HttpConnection[]) => Promise<T>,
): Promise<T> {
  const connections = await Promise.all(Array.from({ length: count }, () => HttpConnection.open(server.port)))
  try {
    return await work(connections)
  } finally {
    for (const connection of connections) connection.close()
  }
}

/** All connections ask again and again until the time is over. `ask` is false for an answer that is wrong and may be right next time. */
async function asking(
  server: HttpTargetServer,
  connections: readonly HttpConnection[],
  seconds: number,
  ask: (connection: HttpConnection, i: number) => Promise<boolean>,
): Promise<Figures> {
  const times = new Histogram()
  let refused = 0
  const cpuBefore = cpuMs(server.pid)
  const beganMs = performance.now()
  const untilMs = beganMs + seconds * 1000
  await Promise.all(
    connections.map(async (connection, i) => {
      for (let before = beganMs; before < untilMs; ) {
        const isDone = await ask(connection, i)
        const now = performance.now()
        if (isDone) times.add(now - before)
        else refused++
        before = now
      }
    }),
  )
  const elapsedMs = performance.now() - beganMs
  return {
    requestsPerSecond: Math.round((times.samples * 1000) / elapsedMs),
    answerMs: times.percentiles(),
    refused,
    cpuMicrosPerRequest: round(((cpuMs(server.pid) - cpuBefore) * 1000) / times.samples),
  }
}

async function create(connection: HttpConnection, path: string): Promise<void> {
  const { status } = await connection.ask(requestBytes('PUT', path, TEXT))
  if (status !== 200 && status !== 201) throw new Error(`a stream was not created: ${status}`)
}

async function append(connection: HttpConnection, path: string, number: number): Promise<void> {
  for (let tries = 0; tries < TRIES; tries++) {
    const { status } = await connection.ask(requestBytes('POST', path, TEXT, textOf(number)))
    if (status === 200 || status === 204) return
    if (status !== 404) throw new Error(`an append was answered ${status}`)
  }
  throw new Error(`a stream that is there was answered 404 ${TRIES} times`)
}

/** The whole text of a stream, over as many pages as there are. Rejects unless every append is there, once and in order. */
async function stored(
  connection: HttpConnection,
  server: HttpTargetServer,
  stream: number,
  count: number,
): Promise<string> {
  const path = server.path(stream)
  let text = ''
  for (let offset = '-1', isWhole = false; !isWhole; ) {
    const { status, head, body } = await connection.ask(requestBytes('GET', `${path}?offset=${offset}`))
    const next = /\r\nstream-next-offset: *(\S+)/i.exec(head)?.[1]
    if (status === 404) continue
    isWhole = /\r\nstream-up-to-date: *true/i.test(head)
    if (status !== 200 || next === undefined || (body === '' && !isWhole)) throw new Error(`${path} cannot be read on`)
    text += body
    offset = next
  }
  const appends = text.match(/[^;]*;/g) ?? []
  const once = server.mayRepeat ? [...new Set(appends)].slice(0, count) : appends
  if (once.join('') !== allOf(count))
    throw new Error(`${path} does not hold the ${count} appends that were acknowledged`)
  return text
}

/** Takes the text of an event stream as it comes, and tells of each append in it. */
class EventReader {
  private readonly mayRepeat: boolean
  private readonly told: (number: number) => void
  private rest = ''
  private next = 0

  constructor(mayRepeat: boolean, told: (number: number) => void) {
    this.mayRepeat = mayRepeat
    this.told = told
  }

  /** Throws if an append is missing, comes twice, or out of order. */
  take(text: string): void {
    const lines = (this.rest + text).split(';')
    this.rest = lines.pop() as string
    for (const line of lines) {
      const at = line.lastIndexOf('#')
      if (at < 0) continue
      const number = Number(line.slice(at + 1))
      if (this.mayRepeat && number === this.next - 1) continue
      if (number !== this.next) throw new Error(`a reader was given append ${number} where ${this.next} is next`)
      this.told(this.next++)
    }
  }
}

/** `......#17;`: what an append carries. */
function textOf(number: number): string {
  return `#${number};`.padStart(APPEND_BYTES, '.')
}

function allOf(count: number): string {
  return Array.from({ length: count }, (_, number) => textOf(number)).join('')
}
