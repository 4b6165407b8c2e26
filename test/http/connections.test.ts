/** Connections over HTTP as anyone may speak them: what is right is taken in order, and what is wrong costs nobody anything. */

import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, expect, it } from 'vitest'
import { DOWN, FRAMES_TYPE, LIMITS, UP } from '../../protocol/index.ts'
import { HeldStore } from '../broker/held-store.ts'
import { eventually, turn } from '../broker/virtual-clock.ts'
import { HttpBroker, problemOf } from './http.ts'
import { appendOf, HELLO, messageOf, post, RawConnection } from './raw-connection.ts'

describe('a connection over HTTP', () => {
  it('says what a WebSocket would, on the answer that stays open, and takes one message after the other', async () => {
    const http = await HttpBroker.start()
    const connection = await RawConnection.attached(http, 'a')
    expect(connection.frames.map(([type]) => type)).toEqual([DOWN.welcome, DOWN.reply])
    expect(connection.response.headers.get('content-type')).toBe(FRAMES_TYPE)
    expect(connection.response.headers.get('cache-control')).toBe('no-store, no-transform')
    for (let sequence = 0; sequence < 3; sequence++) {
      const { status } = await connection.post(messageOf(appendOf(sequence, `m${sequence}`)))
      expect(status).toBe(204)
    }
    await connection.next(DOWN.ack, 3)
    expect(await http.json('/v1/sessions/a')).toMatchObject({ nextOffset: 3, hold: 'attached' })
    expect(http.test.broker.stats().connections).toBe(1)
  })

  it('is closed when that is asked, and lets go of its topics', async () => {
    const http = await HttpBroker.start({ lingerMs: 0 })
    const connection = await RawConnection.attached(http, 'a')
    await connection.post(messageOf(appendOf(0, 'last')))
    await connection.next(DOWN.ack)
    expect((await http.fetch(connection.path, { method: 'DELETE' })).status).toBe(204)
    await connection.until(() => connection.over)
    await eventually(() => http.test.broker.stats().connections === 0)
    expect(await problemOf(await connection.post(messageOf(HELLO)))).toMatchObject({ status: 404, code: 'NOT_FOUND' })
  })

  it('is over for the broker when its open answer is given up', async () => {
    const http = await HttpBroker.start()
    const connection = await RawConnection.attached(http, 'a')
    connection.abort()
    await eventually(() => http.test.broker.stats().connections === 0)
    expect(await http.json('/v1/sessions/a')).toMatchObject({ hold: 'lingering' })
  })

  it('stays open in silence while the client answers pings, and is cut off when it does not', async () => {
    const http = await HttpBroker.start()
    const connection = await RawConnection.open(http)
    for (let pings = 1; pings <= 3; pings++) {
      await http.test.clock.advance(LIMITS.pingMs)
      await connection.until(() => connection.pings === pings)
      expect((await connection.post(new Uint8Array(0))).status).toBe(204)
    }
    expect(connection.over).toBe(false)
    await http.test.clock.advance(LIMITS.pingMs)
    await http.test.clock.advance(LIMITS.pingMs)
    await connection.until(() => connection.over)
    expect(http.test.broker.stats().connections).toBe(0)
  })

  it('takes a message that fills what a message may', async () => {
    const http = await HttpBroker.start()
    const connection = await RawConnection.attached(http, 'a')
    const appends = Array.from({ length: 7 }, (_, i) => appendOf(i, 'x'.repeat(LIMITS.appendBytes - 16)))
    const whole = messageOf(...appends)
    expect(whole.length).toBeGreaterThan(LIMITS.httpBodyBytes)
    expect((await connection.post(whole)).status).toBe(204)
    await eventually(async () => (await http.json<{ nextOffset: number }>('/v1/sessions/a')).nextOffset === 7)
  })

  it('is answered no sooner than the disk keeps up', async () => {
    const store = await HeldStore.open()
    const http = await HttpBroker.start({ store })
    const connection = await RawConnection.attached(http, 'a')
    const value = 'x'.repeat(LIMITS.appendBytes - 16)
    const message = (i: number): Buffer =>
      messageOf(...Array.from({ length: 15 }, (_, at) => appendOf(i * 15 + at, value)))
    const commit = store.holdJournal()
    const taken: number[] = []
    const sending = (async () => {
      for (let i = 0; i < 4; i++) taken.push((await connection.post(message(i))).status)
    })()
    // What waits to be written is more than it should be with the third.
    await eventually(() => taken.length === 2)
    for (let turns = 0; turns < 100; turns++) await turn()
    expect(taken).toEqual([204, 204])
    commit()
    await sending
    expect(taken).toEqual([204, 204, 204, 204])
    await eventually(async () => (await http.json<{ nextOffset: number }>('/v1/sessions/a')).nextOffset === 60)
  })
})

describe('what is wrong', () => {
  it('with a message is told on the connection, which then ends: as on a WebSocket', async () => {
    const http = await HttpBroker.start({ limits: { connection: { frameBytes: LIMITS.messageBytesLeast } } })
    const wrong: [Uint8Array, string][] = [
      [Buffer.from('hello'), 'BAD_FRAME'],
      [messageOf([UP.describe, 1, 'a']), 'HELLO_EXPECTED'],
      [messageOf([UP.hello, 9, {}]), 'VERSION_MISMATCH'],
      [Buffer.alloc(LIMITS.messageBytesLeast + 1), 'FRAME_TOO_LARGE'],
    ]
    for (const [message, code] of wrong) {
      const connection = await RawConnection.open(http, Buffer.from(message))
      await connection.until(() => connection.over)
      expect(connection.frames.at(-1)?.slice(0, 3), code).toEqual([DOWN.error, 0, code])
    }
    await eventually(() => http.test.broker.stats().connections === 0)
  })

  it('with the HTTP of a request is a problem, and costs neither the topic nor the connection anything', async () => {
    const http = await HttpBroker.start()
    const connection = await RawConnection.attached(http, 'a')
    const append = messageOf(appendOf(0, 'not taken'))
    const ask = (path: string, init: RequestInit) => http.problem(path, init)
    const asJson = { headers: { 'content-type': 'application/json' } }
    expect(await ask(connection.path, post(append, asJson))).toMatchObject({ status: 415, code: 'BAD_REQUEST' })
    expect(await ask('/v1/connections', post(append, asJson))).toMatchObject({ status: 415, code: 'BAD_REQUEST' })
    expect(await ask('/v1/connections/none', post(append))).toMatchObject({ status: 404, code: 'NOT_FOUND' })
    expect(await ask('/v1/connections/none', { method: 'DELETE' })).toMatchObject({ status: 404, code: 'NOT_FOUND' })
    expect(await ask('/v1/connections', { method: 'GET' })).toMatchObject({ status: 405, code: 'BAD_REQUEST' })
    const huge = post(Buffer.alloc(2 * LIMITS.messageBytes + 1))
    expect(await ask(connection.path, huge)).toMatchObject({ status: 413, code: 'LIMIT_EXCEEDED' })
    expect(await http.json('/v1/sessions/a')).toMatchObject({ nextOffset: 0 })
    expect((await connection.post(messageOf(appendOf(0, 'taken')))).status).toBe(204)
    await connection.next(DOWN.ack)
  })

  it('with a body that is cut off in the middle is as if it had not come', async () => {
    const http = await HttpBroker.start()
    const connection = await RawConnection.attached(http, 'a')
    const whole = messageOf(appendOf(0, 'half'))
    const socket = connect(http.test.broker.port, http.test.broker.host)
    const head = [`POST ${connection.path} HTTP/1.1`, 'host: localhost', `content-type: ${FRAMES_TYPE}`]
    socket.write(`${[...head, `content-length: ${whole.length}`].join('\r\n')}\r\n\r\n`)
    socket.write(whole.subarray(0, whole.length - 1))
    await once(socket, 'connect')
    // While it has not come as a whole, nothing else may.
    await eventually(async () => (await connection.post(new Uint8Array(0))).status === 409)
    expect(await problemOf(await connection.post(whole))).toMatchObject({ status: 409, code: 'BAD_REQUEST' })
    socket.destroy()
    await eventually(async () => (await connection.post(new Uint8Array(0))).status === 204)
    await turn()
    expect(await http.json('/v1/sessions/a')).toMatchObject({ nextOffset: 0 })
    await connection.post(whole)
    await connection.next(DOWN.ack)
    expect(await http.json('/v1/sessions/a')).toMatchObject({ nextOffset: 1 })
  })
})
