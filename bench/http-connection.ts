/**
 * A keep-alive connection of a load, with as little of its own as can be: requests are bytes made once, answers are read for status,
 * length and body. Node's own client takes longer for a request than the servers that are measured.
 */

import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

export interface Answer {
  readonly status: number
  readonly head: string
  readonly body: string
}

const HEAD_END = '\r\n\r\n'

/** A request as bytes. `headers` are lines without their ends. */
export function requestBytes(method: string, path: string, headers: readonly string[] = [], body = ''): Buffer {
  const length = method === 'GET' ? [] : [`content-length: ${Buffer.byteLength(body)}`]
  const lines = [`${method} ${path} HTTP/1.1`, 'host: 127.0.0.1', ...headers, ...length]
  return Buffer.from(`${lines.join('\r\n')}${HEAD_END}${body}`)
}

export class HttpConnection {
  private readonly socket: Socket
  /** What came and has not been taken, one character a byte. */
  private got = ''
  private take: (() => void) | null = null
  private fault: Error | null = null

  private constructor(socket: Socket) {
    this.socket = socket
    socket.setNoDelay(true)
    socket.setEncoding('latin1')
    socket.on('data', (text) => {
      this.got += text
      this.take?.()
    })
    const end = (error?: Error): void => {
      this.fault ??= error ?? new Error('the server closed a connection')
      this.take?.()
    }
    socket.on('error', end)
    socket.on('close', () => end())
  }

  static async open(port: number): Promise<HttpConnection> {
    const socket = connect(port, '127.0.0.1')
    await once(socket, 'connect')
    return new HttpConnection(socket)
  }

  /** One request, when the answer to the one before is there. */
  ask(request: Buffer): Promise<Answer> {
    this.socket.write(request)
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const answer = this.answer()
        if (answer === null && this.fault === null) return
        this.take = null
        if (answer !== null) resolve(answer)
        else reject(this.fault)
      }
      this.take = look
      look()
    })
  }

  /** A request whose answer goes on: resolves with its head, and hands over what comes behind it, chunk sizes and all. */
  follow(request: Buffer, hear: (text: string) => void, broken: (error: Error) => void): Promise<string> {
    this.socket.write(request)
    return new Promise((resolve, reject) => {
      this.take = () => {
        const end = this.got.indexOf(HEAD_END)
        if (this.fault !== null) reject(this.fault)
        if (end < 0) return
        resolve(this.got.slice(0, end))
        this.got = this.got.slice(end + HEAD_END.length)
        this.take = () => {
          if (this.fault !== null) broken(this.fault)
          const text = this.got
          this.got = ''
          if (text.length > 0) hear(text)
        }
        this.take()
      }
    })
  }

  close(): void {
    this.fault = new Error('closed')
    this.take = null
    this.socket.destroy()
  }

  /** The answer that has come, or null while it has not come whole. */
  private answer(): Answer | null {
    const { got } = this
    const end = got.indexOf(HEAD_END)
    if (end < 0) return null
    const head = got.slice(0, end)
    const status = Number(head.slice(9, 12))
    const from = end + HEAD_END.length
    const length = status === 204 || status === 304 ? 0 : lengthOf(head)
    if (length === null) return this.chunked(status, head, from)
    if (got.length < from + length) return null
    this.got = got.slice(from + length)
    return { status, head, body: got.slice(from, from + length) }
  }

  private chunked(status: number, head: string, from: number): Answer | null {
    let body = ''
    for (let at = from; ; ) {
      const line = this.got.indexOf('\r\n', at)
      if (line < 0) return null
      const size = Number.parseInt(this.got.slice(at, line), 16)
      const next = line + 2 + size + 2
      if (this.got.length < next) return null
      body += this.got.slice(line + 2, line + 2 + size)
      at = next
      if (size > 0) continue
      this.got = this.got.slice(at)
      return { status, head, body }
    }
  }
}

/** What `content-length` says; null without one. */
function lengthOf(head: string): number | null {
  const match = /\r\ncontent-length: *(\d+)/i.exec(head)
  return match === null ? null : Number(match[1])
}
