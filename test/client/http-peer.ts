/** A broker over HTTP by script: a real server that answers what a test tells it to, byte by byte. By itself it only welcomes. */

import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  DOWN,
  type DownFrame,
  decodeUp,
  encodeFrame,
  FRAMES_TYPE,
  MESSAGE_HEAD_BYTES,
  UP,
  type UpFrame,
  writeMessageHead,
} from '../../protocol/index.ts'
import { INCARNATION } from './peer.ts'

export interface Asked {
  readonly method: string
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly frames: readonly UpFrame[]
  readonly response: ServerResponse
}

export class HttpPeer {
  /** Every request, in order. */
  readonly asked: Asked[] = []
  /** What answers the request that opens a connection; it welcomes unless a test has something else in mind. */
  onOpen: (asked: Asked) => void = () => this.welcome()
  /** Is a message answered as taken at once? Else by the test. */
  takesAll = true
  private readonly server: Server
  /** The open answer. */
  private open: ServerResponse | null = null
  private readonly waiting: (() => void)[] = []

  private constructor(server: Server) {
    this.server = server
    server.on('request', async (request, response) => {
      const pieces: Buffer[] = []
      for await (const piece of request) pieces.push(piece as Buffer)
      const { method = '', url = '', headers } = request
      const body = Buffer.concat(pieces)
      const asked = { method, url, headers, frames: body.length === 0 ? [] : decodeUp(body), response }
      this.asked.push(asked)
      if (url === '/v1/connections') {
        this.open = response
        this.onOpen(asked)
      } else if (this.takesAll) response.writeHead(204).end()
      this.changed()
    })
  }

  static async start(): Promise<HttpPeer> {
    const server = createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new HttpPeer(server)
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`
  }

  /** Bodies of frames that came, by their types; the hello left out. */
  get told(): readonly (readonly number[])[] {
    return this.asked.slice(1).map(({ frames }) => frames.map(([type]) => type))
  }

  welcome(): void {
    this.open?.writeHead(200, { 'content-type': FRAMES_TYPE, 'litetopic-connection': 'abc' })
    this.say([DOWN.welcome, 1, { incarnation: INCARNATION, timeMs: 0, server: 'peer' }])
  }

  /** One message of these frames. */
  say(...frames: DownFrame[]): void {
    this.write(messageOf(...frames))
  }

  write(bytes: Uint8Array): void {
    this.open?.write(bytes)
  }

  /** Breaks the open answer off. */
  drop(): void {
    this.open?.destroy()
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.waiting.push(resolve))
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections()
    this.server.close()
    await once(this.server, 'close')
  }

  private changed(): void {
    for (const resolve of this.waiting.splice(0)) resolve()
  }
}

/** A message down, with its size before it. */
export function messageOf(...frames: DownFrame[]): Buffer {
  const message = Buffer.concat(frames.map((frame) => encodeFrame(frame)))
  const head = Buffer.alloc(MESSAGE_HEAD_BYTES)
  writeMessageHead(head, message.length)
  return Buffer.concat([head, message])
}

/** A reply to `list`, which is asked for nothing else than an answer. */
export const listed = (frame: UpFrame | undefined): DownFrame => [
  DOWN.reply,
  frame?.[0] === UP.list ? frame[1] : 0,
  { topics: [], more: false },
]
