/** The connections of a broker, wherever they come from: sends what they gathered, pings silent ones, pauses publishers. */

import { DOWN, type ErrorCode, LIMITS, LitetopicError, type UpFrame } from '../../protocol/index.ts'
import type { Authority } from '../access/authority.ts'
import type { Clock } from '../clock.ts'
import { comeBack } from '../come-back.ts'
import type { Core } from '../core.ts'
import { type Counts, increment } from '../observe/counts.ts'
import type { Operations } from '../operations.ts'
import type { Unsent } from '../unsent.ts'
import { Connection, type ConnectionOwner } from './connection.ts'
import { Peer } from './dispatch.ts'
import type { Socket } from './socket.ts'

/** Where connections come from: the WebSocket server of server.ts, unless another one is given. */
export interface Transport {
  /** Hands over each connection that is opened. Resolves with the port, 0 if there is none; rejects with PORT_IN_USE. */
  listen(accept: (socket: Socket) => void): Promise<number>
  /** Hands over no more. Resolves when those that it handed over are closed. */
  close(): Promise<void>
}

export interface HubOptions {
  readonly core: Core
  readonly clock: Clock
  readonly version: string
  /** The largest message that a connection may send. */
  readonly frameBytes: number
  readonly unsent: Unsent
  readonly counts: Counts
  readonly authority: Authority
}

/** Connections that are pinged in one turn of the loop. */
const PINGS_PER_TURN = 64

export class Hub implements ConnectionOwner {
  private readonly options: HubOptions
  private readonly peers = new Map<Connection, Peer>()
  private dirty: Connection[] = []
  private readonly pausedOnes = new Set<Connection>()
  private cancelPing: (() => void) | null = null
  private transport: Transport | null = null
  /** Called when a connection has no operation under way any more. */
  private whenAnswered: () => void = () => undefined
  private core: Core | null
  private incarnation: string

  constructor(options: HubOptions) {
    this.options = options
    this.core = options.core
    this.incarnation = options.core.incarnation
  }

  /** Takes the connections of the transport. Resolves with its port; rejects with PORT_IN_USE. */
  async open(transport: Transport): Promise<number> {
    this.transport = transport
    const port = await transport.listen((socket) => this.accept(socket))
    this.ping()
    return port
  }

  /** What clients ask goes to this core from now on. Those that used the one before are sent away, to come back at once. */
  use(core: Core | null): void {
    if (this.core !== null || this.incarnation !== core?.incarnation) this.sendAway()
    this.core = core
    this.incarnation = core?.incarnation ?? this.incarnation
  }

  /**
   * Takes no more connections and refuses new work, tells clients when to come back, answers what is under way, and closes.
   * Takes at most `stopMs` and `stopSocketMs`.
   */
  async close(): Promise<void> {
    this.cancelPing?.()
    const closed = this.transport?.close() ?? Promise.resolve()
    const delay = comeBack(this.peers.size)
    const refusal = new LitetopicError('SHUTTING_DOWN', 'the broker is stopping: come back after the delay', delay)
    for (const [connection, peer] of this.peers) {
      peer.stop(refusal)
      if (connection.greeted) connection.send([DOWN.goaway, 'the broker is stopping', delay])
    }
    await this.within(LIMITS.stopMs, this.allAnswered())
    for (const connection of this.peers.keys()) connection.closeGoingAway()
    await this.within(LIMITS.stopSocketMs, closed)
    for (const connection of this.peers.keys()) connection.terminate()
    await closed
  }

  get connections(): number {
    return this.peers.size
  }

  get frameBytes(): number {
    return this.options.frameBytes
  }

  get overloaded(): boolean {
    return this.core?.overloaded ?? false
  }

  get congested(): boolean {
    return this.options.unsent.congested
  }

  held(bytes: number): void {
    this.options.unsent.held(bytes)
  }

  frame(connection: Connection, frame: UpFrame): void {
    this.peers.get(connection)?.frame(frame)
  }

  closed(connection: Connection): void {
    const peer = this.peers.get(connection)
    this.peers.delete(connection)
    connection.cancelHelloTimer()
    peer?.close()
    this.pausedOnes.delete(connection)
    this.whenAnswered()
  }

  markDirty(connection: Connection): void {
    if (this.dirty.length === 0) setImmediate(() => this.flush())
    this.dirty.push(connection)
  }

  answered(): void {
    this.whenAnswered()
  }

  rejected(code: ErrorCode): void {
    increment(this.options.counts.rejected, code)
  }

  paused(connection: Connection): void {
    this.options.counts.pauses++
    this.pausedOnes.add(connection)
  }

  resumed(connection: Connection): void {
    this.pausedOnes.delete(connection)
  }

  /** To be called after commits and flushes: lets publishers go on when there is room. */
  relieve(): void {
    if (this.pausedOnes.size === 0 || this.overloaded) return
    for (const connection of this.pausedOnes) connection.goOn()
  }

  /** An operation may begin another commit before it is answered, so both are waited for in turn. */
  private async allAnswered(): Promise<void> {
    for (;;) {
      // If it cannot be stored, those who wait for it are told.
      await this.core?.settled().catch(() => undefined)
      if (![...this.peers.keys()].some((connection) => connection.isBusy)) return
      await new Promise<void>((resolve) => {
        this.whenAnswered = resolve
      })
    }
  }

  private within(ms: number, done: Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      const cancel = this.options.clock.after(ms, resolve)
      done.then(resolve, reject).finally(cancel)
    })
  }

  private flush(): void {
    const dirty = this.dirty
    this.dirty = []
    for (const connection of dirty) connection.flush()
  }

  private accept(socket: Socket): void {
    const { clock, version, frameBytes, authority } = this.options
    const { incarnation } = this
    const connection = new Connection(socket, this)
    const server = `litetopic ${version}`
    const welcome = { incarnation, server, messageBytes: frameBytes, wallMs: () => clock.wallMs() }
    this.peers.set(connection, new Peer(connection, () => this.operations(), welcome, authority))
    connection.cancelHelloTimer = clock.after(LIMITS.helloMs, () => {
      // In a storm the hello may be there and only not read yet: a whole turn of the loop reads what there is.
      setImmediate(() => setImmediate(() => this.expectHello(connection)))
    })
  }

  private expectHello(connection: Connection): void {
    if (connection.greeted || !this.peers.has(connection)) return
    connection.fail(0, new LitetopicError('HELLO_EXPECTED', `no hello came within ${LIMITS.helloMs} ms`))
  }

  /** Throws STORE_UNAVAILABLE while there is no core. */
  private operations(): Operations {
    if (this.core !== null) return this.core.operations
    throw new LitetopicError('STORE_UNAVAILABLE', 'the store is being opened anew; come back in a moment')
  }

  private sendAway(): void {
    const away = [...this.peers]
    for (const [connection, peer] of away) {
      peer.close()
      if (connection.greeted) connection.send([DOWN.goaway, 'the store is opened anew', comeBack(away.length)])
      connection.closeGoingAway()
    }
    this.options.clock.after(LIMITS.stopSocketMs, () => {
      for (const [connection] of away) if (this.peers.has(connection)) connection.terminate()
    })
  }

  private ping(): void {
    this.cancelPing = this.options.clock.after(LIMITS.pingMs, () => {
      this.pingSome([...this.peers.keys()])
      this.ping()
    })
  }

  /** A few in each turn of the loop: to 10,000 at once it would be held up for longer than a token should take. */
  private pingSome(left: Connection[]): void {
    for (const connection of left.splice(-PINGS_PER_TURN)) if (this.peers.has(connection)) connection.ping()
    if (left.length > 0) setImmediate(() => this.pingSome(left))
  }
}
