/** A real HTTP server for a route that takes a Request, whose connections can be cut in the middle of an answer. */

import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'

export type Route = (request: Request) => Promise<Response>

export class RouteServer {
  /** Requests so far, by the id behind which they go on. */
  readonly asked: (string | null)[] = []
  /** So many bytes of each answer are sent before its connection is cut; then this is called again. */
  cutAfter: () => number = () => Number.POSITIVE_INFINITY
  private readonly server: Server

  private constructor(route: Route) {
    this.server = createServer(async (incoming, outgoing) => {
      const url = `http://app.test${incoming.url}`
      const { method = 'GET' } = incoming
      const headers = new Headers(incoming.headers as Record<string, string>)
      this.asked.push(headers.get('last-event-id'))
      const body = method === 'GET' ? null : Buffer.concat(await Readable.from(incoming).toArray())
      const response = await route(new Request(url, { method, headers, body }))
      outgoing.writeHead(response.status, Object.fromEntries(response.headers))
      outgoing.flushHeaders()
      let left = this.cutAfter()
      const reader = (response.body as ReadableStream<Uint8Array>).getReader()
      outgoing.once('close', () => void reader.cancel().catch(() => {}))
      for (;;) {
        const { done, value } = await reader.read()
        if (done) break
        await new Promise((written) => outgoing.write(value.subarray(0, left), written))
        left -= value.length
        if (left <= 0) return void outgoing.destroy()
      }
      outgoing.end()
    })
  }

  static async start(route: Route): Promise<RouteServer> {
    const started = new RouteServer(route)
    await new Promise<void>((resolve) => started.server.listen(0, '127.0.0.1', resolve))
    return started
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/agent`
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections()
    await new Promise((resolve) => this.server.close(resolve))
  }
}
