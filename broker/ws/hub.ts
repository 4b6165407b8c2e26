/** The connections of a broker, wherever they come from: sends what they gathered, pings silent ones, pauses publishers. */

import { DOWN, LIMITS, LitetopicError, type UpFrame } from '../../protocol/index.ts'
import type { Clock } from '../clock.ts'
import type { Core } from '../core.ts'
import { Connection, type ConnectionOwner, type Socket } from './connection.ts'
import { Peer } from './dispatch.ts'

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
}

export class Hub implements ConnectionOwner {
  private readonly options: HubOptions
  private readonly peers = new Map<Connection, Peer>()
  private dirty: Connection[] = []
  private readonly pausedOnes = new Set<Connection>()
  private cancelPing: (() => void) | null = null
  private transport: Transport | null = null

  constructor(options: HubOptions) {
    this.options = options
  }

  /** Takes the connections of the transport. Resolves with its port; rejects with PORT_IN_USE. */
  async open(transport: Transport): Promise<number> {
    this.transport = transport
    const port = await transport.listen((socket) => this.accept(socket))
    this.ping()
    return port
  }

  /** Tells clients when to come back and closes. */
  async close(): Promise<void> {
    this.cancelPing?.()
    const closed = this.transport?.close()
    for (const connection of this.peers.keys()) {
      connection.send([DOWN.goaway, 'the broker is stopping', { minDelayMs: 100, maxDelayMs: 2000 }])
      connection.closeGoingAway()
    }
    const cancel = this.options.clock.after(1000, () => {
      for (const connection of this.peers.keys()) connection.terminate()
    })
    await closed
    cancel()
  }

  get connections(): number {
    return this.peers.size
  }

  get frameBytes(): number {
    return this.options.frameBytes
  }

  get overloaded(): boolean {
    return this.options.core.overloaded
  }

  frame(connection: Connection, frame: UpFrame): void {
    this.peers.get(connection)?.frame(frame)
  }

  closed(connection: Connection): void {
    const peer = this.peers.get(connection)
    this.peers.delete(connection)
    peer?.close()
    this.pausedOnes.delete(connection)
  }

  markDirty(connection: Connection): void {
    if (this.dirty.length === 0) setImmediate(() => this.flush())
    this.dirty.push(connection)
  }

  paused(connection: Connection): void {
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

  private flush(): void {
    const dirty = this.dirty
    this.dirty = []
    for (const connection of dirty) connection.flush()
  }

  private accept(socket: Socket): void {
    const { core, clock, version, frameBytes } = this.options
    const connection = new Connection(socket, this)
    const server = `litetopic ${version}`
    const welcome = { incarnation: core.incarnation, server, messageBytes: frameBytes, wallMs: () => clock.wallMs() }
    this.peers.set(connection, new Peer(connection, core.operations, welcome))
    clock.after(LIMITS.helloMs, () => {
      if (connection.greeted || !this.peers.has(connection)) return
      connection.fail(0, new LitetopicError('HELLO_EXPECTED', `no hello came within ${LIMITS.helloMs} ms`))
    })
  }

  private ping(): void {
    this.cancelPing = this.options.clock.after(LIMITS.pingMs, () => {
      for (const connection of this.peers.keys()) connection.ping()
      this.ping()
    })
  }
}
