/** The listening socket: accepts WebSockets, sends what they gathered, pings silent ones, and pauses publishers. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type WebSocket, WebSocketServer } from 'ws'
import { DOWN, LIMITS, LitetopicError, SUBPROTOCOL, type UpFrame, WEBSOCKET_PATH } from '../../protocol/index.ts'
import type { Clock } from '../clock.ts'
import type { Operations } from '../operations.ts'
import { Connection, type ConnectionOwner } from './connection.ts'
import { Peer } from './dispatch.ts'

export interface ServerOptions {
  readonly operations: Operations
  readonly clock: Clock
  readonly incarnation: string
  readonly version: string
  /** Are publishers to be paused now? */
  readonly overloaded: () => boolean
}

export class Listener implements ConnectionOwner {
  private readonly options: ServerOptions
  private readonly http: Server
  private readonly sockets: WebSocketServer
  private readonly peers = new Map<Connection, Peer>()
  private dirty: Connection[] = []
  private readonly pausedOnes = new Set<Connection>()
  private cancelPing: (() => void) | null = null

  constructor(options: ServerOptions) {
    this.options = options
    this.http = createServer(answerPlainly)
    this.sockets = new WebSocketServer({
      server: this.http,
      path: WEBSOCKET_PATH,
      // Twice the limit: what lies between gets a typed error, what is beyond is cut off by ws.
      maxPayload: LIMITS.messageBytes * 2,
      perMessageDeflate: false,
      handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
    })
    this.sockets.on('connection', (socket) => this.accept(socket))
  }

  /** Resolves with the port; rejects with PORT_IN_USE. */
  listen(host: string, port: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.sockets.on('error', (error: NodeJS.ErrnoException) => reject(listenError(error, host, port)))
      this.http.listen(port, host, () => {
        this.ping()
        const address = this.http.address()
        resolve(typeof address === 'object' && address !== null ? address.port : port)
      })
    })
  }

  /** Tells clients when to come back and closes. */
  async close(): Promise<void> {
    this.cancelPing?.()
    const closed = new Promise<void>((resolve) => this.http.close(() => resolve()))
    this.sockets.close()
    // Those that have become WebSockets are not the HTTP server's any more; these have nothing to wait for.
    this.http.closeAllConnections()
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

  get overloaded(): boolean {
    return this.options.overloaded()
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

  private accept(socket: WebSocket): void {
    const { operations, clock, incarnation, version } = this.options
    const connection = new Connection(socket, this)
    const server = `litetopic ${version}`
    this.peers.set(connection, new Peer(connection, operations, { incarnation, server, wallMs: () => clock.wallMs() }))
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

function listenError(error: NodeJS.ErrnoException, host: string, port: number): Error {
  if (error.code === 'EADDRINUSE') {
    return new LitetopicError(
      'PORT_IN_USE',
      `${host}:${port} is taken: stop what listens there, or choose another port`,
      { host, port },
      error,
    )
  }
  return new LitetopicError('BAD_REQUEST', `cannot listen on ${host}:${port}: ${error.code}`, { host, port }, error)
}

function answerPlainly(_request: IncomingMessage, response: ServerResponse): void {
  response.writeHead(426, { 'content-type': 'text/plain; charset=utf-8', upgrade: 'websocket' })
  response.end(`This is litetopic. Connect with a WebSocket to ${WEBSOCKET_PATH}.\n`)
}
