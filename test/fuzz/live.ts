/**
 * Fuzzes a broker in a process of its own over real sockets, while a bystander streams tokens through it and reads them back.
 * The broker must neither die nor hang nor grow, refuse only with codes that are documented, and the bystander must not notice.
 */

import { connect as connectTcp, type Socket } from 'node:net'
import { WebSocket } from 'ws'
import { connect } from '../../client/index.ts'
import {
  type AckEntry,
  ByteReader,
  DOWN,
  type DownFrame,
  decodeDown,
  encodeFrame,
  isErrorCode,
  readAckEntry,
  UP,
} from '../../protocol/index.ts'
import { LiveBroker } from '../live/live-broker.ts'
import { Random, seedOf } from '../random.ts'
import { anyFrame, frameOf, SoundWriter } from './frames.ts'
import { mutate, noise } from './mutate.ts'

const ATTACKERS = 8
/** Sockets that say nothing, half of a handshake or half of a message. */
const HALF_OPEN = 50
const FRAMES_PER_MESSAGE = 20
/** An answer that takes longer means that the broker hangs. */
const ANSWER_MS = 30_000
/** How long topics and buffers may take to go before memory is compared. */
const SETTLE_MS = 60_000
/** What the fuzzing may leave behind, in bytes of heap and of buffers: LevelDB's caches and code that was compiled. */
export const GROWTH_BYTES = 32 * 1024 * 1024
/** A fault of litetopic, or of the disk: fuzzing must provoke neither. */
const FAULTS: readonly string[] = ['INTERNAL', 'STORE_CORRUPT', 'STORE_UNAVAILABLE', 'NOT_OWNER']

export interface LiveOutcome {
  readonly frames: number
  readonly connections: number
  /** Appends of the attackers that were acknowledged. */
  readonly appends: number
  /** How often each code was told. */
  readonly codes: ReadonlyMap<string, number>
  /** What must not be, in words. */
  readonly wrong: readonly string[]
  readonly growthBytes: number
  /** Tokens that the bystander wrote and read. */
  readonly tokens: number
}

interface Tally {
  sent: number
  appends: number
  connections: number
  readonly codes: Map<string, number>
  readonly wrong: string[]
}

export async function fuzzLive(
  seed: number,
  frames: number,
  progress: (sent: number) => void = () => undefined,
): Promise<LiveOutcome> {
  const live = await LiveBroker.start({ lingerMs: 500, residencyIdleMs: 500, quietMs: 500, streamGraceMs: 200 })
  const tally: Tally = { sent: 0, connections: 0, appends: 0, codes: new Map(), wrong: [] }
  try {
    const bystander = await Bystander.begin(live.url, tally.wrong)
    // What is compiled and cached once is no growth.
    await attackAll(live, seedOf(seed, 'warm'), Math.min(20_000, frames), tally, progress)
    const before = used(await live.memory())
    await attackAll(live, seed, tally.sent + frames, tally, progress)
    const tokens = await bystander.end()
    const growthBytes = await settledGrowth(live, before)
    if (growthBytes > GROWTH_BYTES) tally.wrong.push(`the broker has grown by ${growthBytes} bytes`)
    if (!live.alive) tally.wrong.push('the broker is dead')
    for (const line of live.log) if (FAULTS.some((code) => line.includes(code))) tally.wrong.push(line)
    const { sent, connections, appends, codes, wrong } = tally
    return { frames: sent, connections, codes, wrong, growthBytes, tokens, appends }
  } catch (error) {
    throw new Error(`${error}; the broker logged: ${live.log.join('').slice(-2000)}`, { cause: error })
  } finally {
    await live.stop()
  }
}

async function attackAll(
  live: LiveBroker,
  seed: number,
  until: number,
  tally: Tally,
  progress: (sent: number) => void,
): Promise<void> {
  const halfOpen = new HalfOpen(live.url, new Random(seedOf(seed, 'half-open')))
  const attackers = Array.from({ length: ATTACKERS }, async (_, i) => {
    const random = new Random(seedOf(seed, `attacker ${i}`))
    while (tally.sent < until && tally.wrong.length === 0 && live.alive) {
      halfOpen.another()
      await attack(live.url, random, until, tally)
      progress(tally.sent)
    }
  })
  await Promise.all(attackers)
  halfOpen.end()
}

/** One connection: sends until it is closed, or has sent enough. */
async function attack(url: string, random: Random, until: number, tally: Tally): Promise<void> {
  // From many addresses, as the ports of one are soon used up.
  const localAddress = `127.0.${random.between(0, 9)}.${random.between(2, 250)}`
  const socket = new WebSocket(url, 'litetopic.v1', { localAddress })
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  let answered = (): void => undefined
  socket.on('error', () => undefined)
  socket.on('message', (data: Buffer) => {
    hear(data, tally)
    answered()
  })
  const opened = new Promise<void>((resolve) => socket.once('open', () => resolve()))
  if ((await within(Promise.race([opened, closed]), tally, 'a connection')) === null) return socket.terminate()
  tally.connections++
  if (random.chance(0.95)) socket.send(frameOf(UP.hello, random))
  const writer = new SoundWriter(random)
  if (random.chance(0.9)) socket.send(writer.attaches())
  for (let messages = random.between(1, 60); messages > 0 && tally.sent < until; messages--) {
    if (socket.readyState !== WebSocket.OPEN) break
    const said = new Promise<void>((resolve) => {
      answered = resolve
    })
    const { bytes, frames } = message(random, writer)
    socket.send(bytes)
    // Behind everything that can be answered, one frame that will be.
    socket.send(encodeFrame([UP.list, 1, 'none', {}]))
    tally.sent += frames
    if (random.chance(0.5)) continue
    if ((await within(Promise.race([said, closed]), tally, 'an answer')) === null) break
  }
  if (random.chance(0.5)) socket.terminate()
  else {
    socket.close()
    await within(closed, tally, 'the close of a connection')
  }
}

/** Frames in any order, of which some are mutated; a mutated one mostly comes last, as it mostly ends the connection. */
function message(random: Random, writer: SoundWriter): { bytes: Uint8Array; frames: number } {
  const next = (): Uint8Array => (random.chance(0.3) ? writer.append() : anyFrame(random))
  const frames = Array.from({ length: random.between(1, FRAMES_PER_MESSAGE) }, next)
  const kind = random.next()
  const last = frames.length - 1
  if (kind < 0.3) frames[last] = mutate(frames[last] as Uint8Array, random)
  else if (kind < 0.33) frames[last] = noise(random)
  return { bytes: Buffer.concat(frames), frames: frames.length }
}

/** What the broker says is well-formed, and every code in it is documented. */
function hear(data: Buffer, tally: Tally): void {
  const { codes, wrong } = tally
  for (const frame of understood(data, wrong)) {
    if (frame[0] === DOWN.ack) tally.appends += acksIn(frame[1])
    let told: [code: string, message: string] | null = null
    if (frame[0] === DOWN.error || frame[0] === DOWN.subscriptionEnd) told = [frame[2], frame[3]]
    else if (frame[0] === DOWN.refuse) told = [frame[4], frame[5]]
    if (told === null) continue
    const [code, text] = told
    codes.set(code, (codes.get(code) ?? 0) + 1)
    if (!isErrorCode(code) || FAULTS.includes(code)) wrong.push(`the broker said ${code}: ${text}`)
  }
}

function acksIn(bytes: Uint8Array): number {
  const reader = new ByteReader(bytes)
  const entry: AckEntry = { handle: 0, producerEpoch: 0, sequence: 0, base: 0 }
  let count = 0
  for (; !reader.done; count++) readAckEntry(reader, entry)
  return count
}

function understood(data: Buffer, wrong: string[]): DownFrame[] {
  try {
    return decodeDown(data)
  } catch (error) {
    wrong.push(`the broker sent what is no frame: ${error}`)
    return []
  }
}

/** Null if it takes so long that the broker must hang. */
async function within<T>(promise: Promise<T>, { wrong }: Tally, what: string): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), ANSWER_MS)
  })
  const first = await Promise.race([promise, late])
  clearTimeout(timer)
  if (first === null) wrong.push(`${what} did not come within ${ANSWER_MS} ms`)
  return first
}

/** Connections that are never completed, the oldest cut off when there are too many. */
class HalfOpen {
  private readonly sockets: Socket[] = []
  private readonly port: number
  private readonly random: Random

  constructor(url: string, random: Random) {
    this.port = Number(new URL(url).port)
    this.random = random
  }

  another(): void {
    const localAddress = `127.1.${this.random.between(0, 9)}.${this.random.between(2, 250)}`
    const socket = connectTcp({ port: this.port, host: '127.0.0.1', localAddress })
    socket.on('error', () => undefined)
    const handshake =
      `GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n` +
      'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: litetopic.v1\r\n\r\n'
    const kind = this.random.between(0, 3)
    if (kind === 1) socket.write(handshake.slice(0, this.random.between(1, handshake.length - 1)))
    if (kind >= 2) socket.write(handshake)
    // The head of a large masked message, and some noise in the place of what it promises.
    if (kind === 3) socket.write(Buffer.concat([Buffer.from([0x82, 0xfe, 0xff, 0xff, 1, 2, 3, 4]), noise(this.random)]))
    this.sockets.push(socket)
    if (this.sockets.length > HALF_OPEN) this.sockets.shift()?.destroy()
  }

  end(): void {
    for (const socket of this.sockets) socket.destroy()
  }
}

/** A well-behaved client: streams all the time, and reads what it streams. */
class Bystander {
  private readonly wrong: string[]
  private over = false
  private done: Promise<number> = Promise.resolve(0)

  private constructor(wrong: string[]) {
    this.wrong = wrong
  }

  static async begin(url: string, wrong: string[]): Promise<Bystander> {
    const bystander = new Bystander(wrong)
    const broker = connect(url)
    broker.onState((state) => {
      if (state === 'waiting') wrong.push('the bystander has lost its connection')
    })
    const session = await broker.session('bystander/of-the-fuzzing', { lingerMs: 'forever' })
    const stream = await session.openStream('tokens')
    let written = 0
    const write = async (): Promise<void> => {
      while (!bystander.over) {
        if (!stream.write(`${written++};`)) await stream.ready
        if (written % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 1))
      }
      await stream.end()
    }
    const read = async (): Promise<number> => {
      let next = 0
      for await (const record of session.records({ raw: true })) {
        if (record.kind === 'stream' && record.state === 'done') return next
        if (record.kind !== 'token') continue
        if (record.text !== `${next};`) wrong.push(`the bystander read ${record.text}, not ${next}`)
        next++
      }
      return -1
    }
    bystander.done = Promise.all([write(), read()]).then(async ([, count]) => {
      if (count !== written) wrong.push(`the bystander wrote ${written} tokens and read ${count}`)
      await broker.close()
      return count
    })
    return bystander
  }

  async end(): Promise<number> {
    this.over = true
    const count = await within(
      this.done,
      { sent: 0, connections: 0, appends: 0, codes: new Map(), wrong: this.wrong },
      'its tokens',
    )
    return count ?? 0
  }
}

/** How much more the broker uses when nobody is left and its topics are reclaimed. */
async function settledGrowth(live: LiveBroker, before: number): Promise<number> {
  const endMs = performance.now() + SETTLE_MS
  for (;;) {
    const growth = used(await live.memory()) - before
    if (growth < GROWTH_BYTES / 2 || performance.now() > endMs) return growth
    await new Promise((resolve) => setTimeout(resolve, 500))
  }
}

function used({ heapUsed, external }: NodeJS.MemoryUsage): number {
  return heapUsed + external
}
