/** The listener that HTTP and WebSockets share: what it answers before and beside the routes, and how it ends. */

import { describe, expect, it } from 'vitest'
import { STATUS } from '../../broker/http/problem.ts'
import { ERRORS } from '../../protocol/index.ts'
import { message } from '../broker/brokers.ts'
import { HttpBroker } from './http.ts'

describe('the HTTP face', () => {
  it('describes a session that was written by WebSocket, on the same port', async () => {
    const http = await HttpBroker.start()
    const peer = await http.test.peer()
    await peer.attach('support/ticket-42', { producer: 'p' })
    await peer.append({ sequence: 0 }, message('hi'))
    const told = await http.json('/v1/sessions/support/ticket-42')
    expect(told).toMatchObject({ name: 'support/ticket-42', firstOffset: 0, nextOffset: 1, hold: 'attached' })
    expect(await http.json('/v1/sessions/support%2Fticket-42')).toEqual(told)
  })

  it('answers what is not there, and names that are none, with a problem', async () => {
    const http = await HttpBroker.start()
    expect(await http.problem('/v1/sessions/no/such')).toMatchObject({ status: 404, code: 'NOT_FOUND' })
    expect(await http.problem('/v1/nothing')).toMatchObject({ status: 404, code: 'NOT_FOUND' })
    for (const name of ['', 'a//b', 'a b', '..%2Fx', '%00', `${'x'.repeat(256)}`, '%E2%82%AC']) {
      const problem = await http.problem(`/v1/sessions/${name}`)
      expect(problem, name).toMatchObject({ status: 400, code: 'BAD_NAME' })
    }
    expect(await http.problem('/v1/sessions/%zz')).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
  })

  it('tells which methods a path takes', async () => {
    const http = await HttpBroker.start()
    const response = await http.fetch('/v1/sessions/a', { method: 'PROPFIND' })
    expect([response.status, response.headers.get('allow')?.includes('GET')]).toEqual([405, true])
  })

  it('gives every request an id, which is the one of the caller if it is one to print', async () => {
    const http = await HttpBroker.start()
    const id = async (given: string): Promise<string> =>
      (await http.problem('/v1/sessions/none', { headers: { 'x-request-id': given } })).instance
    expect(await id('trace-7')).toBe('trace-7')
    const made = [await id('no "quotes"'), await id(''), await id('x'.repeat(129))]
    expect(new Set(made).size).toBe(3)
    for (const one of made) expect(one).toMatch(/^[\w-]{8}-\w+$/)
  })

  it('greets who comes without a path', async () => {
    const http = await HttpBroker.start()
    const response = await http.fetch('/')
    expect(response.status).toBe(426)
    expect(await response.text()).toContain('/v1/ws')
  })

  it('has a status for every error code', () => {
    expect(Object.keys(STATUS).sort()).toEqual(Object.keys(ERRORS).sort())
    for (const status of Object.values(STATUS)) expect(status).toBeGreaterThanOrEqual(400)
  })
})
