/**
 * The network between clients and the broker: WebSocket messages with delays, in order within a direction of one connection and
 * in no order between connections. A connection can be cut with any first part of what is under way arriving, and each end
 * learns of it at its own time or not at all.
 */

import type { Socket as BrokerSocket, Transport } from '../../broker/index.ts'
import type { Socket as ClientSocket, SocketEvents, SocketFactory } from '../../client/index.ts'
import type { Random } from './random.ts'
import type { Process, World } from './world.ts'

/** ws gives a peer so long to answer a close. */
const CLOSE_MS = 30_000

interface Packet {
  readonly bytes: number
  readonly arrive: () => void
  cancel: () => void
}

/** One direction of a connection. */
class Direction {
  private readonly world: World
  private readonly random: Random
  private readonly line: Line
  private underWay: Packet[] = []
  private lastArrivalMs = 0
  private broken = false
  /** Bytes that the sender's socket still holds. */
  held = 0

  constructor(line: Line, world: World, random: Random) {
    this.line = line
    this.world = world
    this.random = random
  }

  send(bytes: number, arrive: () => void): void {
    this.held += bytes
    if (this.broken) return
    const { line, world } = this
    const delay = line.latencyMs * this.random.between(0.8, 1.6) + bytes / line.bytesPerMs + line.stallMs()
    this.lastArrivalMs = Math.max(this.lastArrivalMs, world.nowMs + delay)
    const packet: Packet = { bytes, arrive, cancel: () => {} }
    // Not after a span of time: a sum that is rounded would let one get before another.
    packet.cancel = world.at(this.lastArrivalMs, () => {
      this.underWay.shift()
      this.held -= bytes
      arrive()
    })
    this.underWay.push(packet)
  }

  /** Some first part of what is under way still arrives, and nothing after it. Says when the last of it does. */
  cut(): number {
    if (!this.broken) {
      this.broken = true
      const kept = this.random.int(0, this.underWay.length)
      for (const packet of this.underWay.splice(kept)) packet.cancel()
    }
    return this.underWay.length === 0 ? this.world.nowMs : this.lastArrivalMs
  }
}

/** One end: what it is told, while its process lives and it is open. */
class End {
  readonly process: Process
  open = true
  onMessage: (bytes: Uint8Array) => void = () => {}
  onPong: () => void = () => {}
  onClose: (why: string) => void = () => {}
  private paused = false
  private waiting: (() => void)[] = []

  constructor(process: Process) {
    this.process = process
  }

  /** What comes in its turn. */
  receive(run: () => void): void {
    if (!this.open || !this.process.alive) return
    if (this.paused) this.waiting.push(run)
    else run()
  }

  pause(): void {
    this.paused = true
  }

  resume(): void {
    this.paused = false
    while (!this.paused && this.waiting.length > 0) this.receive(this.waiting.shift() as () => void)
  }

  close(why: string): void {
    if (!this.open) return
    this.open = false
    if (this.process.alive) this.onClose(why)
  }
}

/** One connection, with its two ends. */
class Line {
  readonly name: string
  readonly client: End
  readonly broker: End
  readonly latencyMs: number
  readonly bytesPerMs: number
  private readonly world: World
  private readonly random: Random
  private readonly network: SimNetwork
  readonly up: Direction
  readonly down: Direction
  private isCut = false

  constructor(network: SimNetwork, name: string, client: Process, broker: Process) {
    this.network = network
    this.world = network.world
    this.random = network.random
    this.name = name
    this.client = new End(client)
    this.broker = new End(broker)
    this.latencyMs = this.random.weighted([
      [6, this.random.between(0.1, 2)],
      [3, this.random.between(2, 30)],
      [1, this.random.between(30, 300)],
    ])
    this.bytesPerMs = this.random.chance(0.1) ? this.random.between(2, 50) : 100_000
    this.up = new Direction(this, this.world, this.random)
    this.down = new Direction(this, this.world, this.random)
  }

  stallMs(): number {
    return this.random.chance(this.network.stalls) ? this.random.between(10, 3000) : 0
  }

  send(from: End, message: Uint8Array, done: () => void): void {
    const to = from === this.client ? this.broker : this.client
    const bytes = new Uint8Array(message)
    this.direction(from).send(bytes.length, () => {
      this.world.note(`net ${this.name} ${from === this.client ? '>' : '<'} ${bytes.length}`)
      to.receive(() => to.onMessage(bytes))
      if (from.open && from.process.alive) done()
    })
  }

  ping(): void {
    this.down.send(2, () =>
      this.client.receive(() => this.up.send(2, () => this.broker.receive(() => this.broker.onPong()))),
    )
  }

  /** The close frame goes behind all that was sent; the other end answers it. */
  close(from: End): void {
    if (!from.open) return
    const to = from === this.client ? this.broker : this.client
    const back = this.direction(to)
    this.direction(from).send(4, () =>
      to.receive(() => {
        back.send(4, () => from.receive(() => from.close('closed')))
        to.close('closed by the other side')
      }),
    )
    this.world.after(CLOSE_MS, () => from.close('the close was not answered'))
  }

  terminate(from: End): void {
    this.sever(from, false)
    this.world.after(0, () => from.close('terminated'))
  }

  /** Cuts it. Each end learns of it later, or perhaps not at all. */
  cut(): void {
    this.world.note(`net ${this.name} cut`)
    this.sever(this.client, true)
    this.sever(this.broker, true)
  }

  /** What the end sends arrives in part; the other end hears of it. */
  sever(from: End, maySilence: boolean): void {
    const to = from === this.client ? this.broker : this.client
    const lastMs = this.direction(from).cut()
    this.direction(to).cut()
    if (this.isCut && !maySilence) return
    this.isCut = true
    if (this.random.chance(this.network.silences)) return
    const delay = Math.max(lastMs - this.world.nowMs, 0) + this.random.between(0, this.latencyMs * 3)
    this.world.after(delay, () => to.close('the connection is lost'))
  }

  get isOpen(): boolean {
    return this.client.open || this.broker.open
  }

  private direction(from: End): Direction {
    return from === this.client ? this.up : this.down
  }
}

export class SimNetwork {
  readonly world: World
  readonly random: Random
  /** Shares of messages that stall, and of losses that an end is not told of. */
  stalls = 0.005
  silences = 0.1
  /** Nothing can be opened until then. */
  private downUntilMs = 0
  private readonly lines = new Set<Line>()
  private count = 0
  private listening: { readonly process: Process; readonly accept: (socket: BrokerSocket) => void } | null = null

  constructor(world: World) {
    this.world = world
    this.random = world.random('network')
  }

  /** What the broker of this process listens on. */
  transport(process: Process): Transport {
    process.onKill(() => {
      if (this.listening?.process === process) this.listening = null
      for (const line of this.open()) if (line.broker.process === process) line.sever(line.broker, true)
    })
    return {
      listen: async (accept) => {
        this.listening = { process, accept }
        return 0
      },
      close: async () => {
        if (this.listening?.process === process) this.listening = null
        while (this.open().some((line) => line.broker.process === process && line.broker.open)) await process.sleep(10)
      },
    }
  }

  /** What a client of this process opens WebSockets with. */
  factory(process: Process): SocketFactory {
    process.onKill(() => {
      for (const line of this.open()) if (line.client.process === process) line.sever(line.client, true)
    })
    return (_url, events) => this.connect(process, events)
  }

  /** Cuts some connection that is open. */
  cutOne(): void {
    const lines = this.open()
    if (lines.length > 0) this.random.pick(lines).cut()
  }

  cutAll(): void {
    for (const line of this.open()) line.cut()
  }

  fail(ms: number): void {
    this.downUntilMs = this.world.nowMs + ms
  }

  heal(): void {
    this.downUntilMs = this.stalls = this.silences = 0
  }

  private open(): Line[] {
    for (const line of this.lines) if (!line.isOpen) this.lines.delete(line)
    return [...this.lines]
  }

  private connect(process: Process, events: SocketEvents): ClientSocket {
    const attempt: { line: Line | null; over: boolean } = { line: null, over: false }
    const closed = (why: string): void => {
      if (attempt.over) return
      attempt.over = true
      events.closed(why)
    }
    const delay = this.random.between(0.1, 20)
    process.after(delay, () => {
      if (attempt.over) return
      if (this.world.nowMs < this.downUntilMs) {
        // Refused, or not even that.
        if (this.random.chance(0.7)) closed('the network is down')
        return
      }
      if (this.listening === null) return closed('refused')
      attempt.line = this.accept(process, events, closed, this.listening)
    })
    return {
      send: (message) => attempt.line?.send(attempt.line.client, message, () => {}),
      get bufferedBytes() {
        return attempt.line?.up.held ?? 0
      },
      close: () => {
        if (attempt.line !== null) attempt.line.close(attempt.line.client)
        else process.after(0, () => closed('closed before it was open'))
      },
      terminate: () => {
        if (attempt.line !== null) attempt.line.terminate(attempt.line.client)
        else process.after(0, () => closed('terminated before it was open'))
      },
    }
  }

  private accept(
    process: Process,
    events: SocketEvents,
    closed: (why: string) => void,
    listening: NonNullable<SimNetwork['listening']>,
  ): Line {
    const line = new Line(this, `${process.name}#${++this.count}`, process, listening.process)
    this.lines.add(line)
    this.world.note(`net ${line.name} opened`)
    line.client.onMessage = (bytes) => events.message(bytes)
    line.client.onClose = closed
    listening.accept(brokerSocket(line))
    // As if the broker had said that it is open.
    line.down.send(100, () => line.client.receive(() => events.opened()))
    return line
  }
}

function brokerSocket(line: Line): BrokerSocket {
  const { broker } = line
  return {
    get bufferedAmount() {
      return line.down.held
    },
    on(event: string, listener: (...args: never[]) => void) {
      const tell = listener as (...args: unknown[]) => void
      if (event === 'message') broker.onMessage = (bytes) => tell(Buffer.from(bytes), true)
      if (event === 'pong') broker.onPong = () => tell()
      if (event === 'close') broker.onClose = () => tell()
    },
    send: (message, done) => line.send(broker, message, done),
    share: ({ bytes }, done) => line.send(broker, bytes, done),
    ping: () => line.ping(),
    pause: () => broker.pause(),
    resume: () => broker.resume(),
    close: () => line.close(broker),
    terminate: () => line.terminate(broker),
  }
}
