/** Readers that take nothing of an answer: they are cut off, and those that wait for theirs are not. */

import { once } from 'node:events'
import type { Server, ServerResponse } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { afterEach, expect, it } from 'vitest'
import { type App, createApp } from '../../broker/http/fastify.ts'
import { LIMITS } from '../../protocol/index.ts'

/** More than a socket's buffers hold. */
const LARGE_BYTES = 64 * 1024 * 1024

const done: (() => unknown)[] = []
afterEach(async () => {
  for (const close of done.splice(0).reverse()) await close()
})

/** A server on which nothing may rest for longer than a moment. */
async function start(routes: (app: App) => void): Promise<{ http: Server; get(): Socket }> {
  const { app, http } = createApp(
    (error) => {
      throw error
    },
    (request, response, routes) => routes(request, response),
    () => 'id',
  )
  routes(app)
  await app.ready()
  expect(http.timeout).toBe(LIMITS.eventStuckMs)
  http.timeout = 50
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  done.push(() => http.close())
  const get = (): Socket => {
    const socket = connectTo(http)
    socket.write('GET /a HTTP/1.1\r\nhost: localhost\r\n\r\n')
    return socket
  }
  return { http, get }
}

function connectTo(http: Server): Socket {
  const socket = connect((http.address() as AddressInfo).port, '127.0.0.1')
  done.push(() => socket.destroy())
  return socket
}

function deferred<T>(): { promise: Promise<T>; resolve(value: T): void } {
  let resolve: (value: T) => void = () => undefined
  const promise = new Promise<T>((done) => {
    resolve = done
  })
  return { promise, resolve }
}

it('cuts off an answer of which nothing is taken', async () => {
  const answered = deferred<ServerResponse>()
  const { get } = await start((app) => {
    app.get('/a', (_request, reply) => {
      answered.resolve(reply.raw)
      reply.send(Buffer.alloc(LARGE_BYTES))
    })
  })
  const socket = get()
  const response = await answered.promise
  await once(response, 'close')
  expect(socket.bytesRead).toBeLessThan(LARGE_BYTES)
})

it('leaves alone one that is waited for', async () => {
  const asked = deferred<() => void>()
  const { http, get } = await start((app) => {
    app.get('/a', (_request, reply) => {
      asked.resolve(() => reply.send('at last'))
    })
  })
  const socket = get()
  const answer = await asked.promise
  // One that asks for nothing goes when it has rested for so long.
  await once(connectTo(http), 'close')
  answer()
  const [text] = await once(socket, 'data')
  expect(String(text)).toContain('at last')
})
