/** A broker of a test, asked by HTTP as anyone would: real sockets, Node's fetch, no client of ours. */

import { expect } from 'vitest'
import type { Problem } from '../../broker/http/problem.ts'
import type { BrokerOptions } from '../../broker/index.ts'
import { TestBroker } from '../broker/brokers.ts'

export class HttpBroker {
  readonly test: TestBroker
  /** `http://host:port`, no slash at its end. */
  readonly base: string

  constructor(test: TestBroker) {
    this.test = test
    this.base = `http://${test.broker.host}:${test.broker.port}`
  }

  /** On a virtual clock, in memory unless the options say otherwise; closed behind the test. */
  static async start(options: BrokerOptions = {}): Promise<HttpBroker> {
    return new HttpBroker(await TestBroker.start(options))
  }

  /** With the token of the broker's peers, if they have one, unless it has another. */
  fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const { token } = this.test
    const headers = new Headers(init.headers)
    if (token !== undefined && !headers.has('authorization')) headers.set('authorization', `Bearer ${token}`)
    return fetch(`${this.base}${path}`, { ...init, headers })
  }

  /** The answer as JSON; fails the test on any other status. */
  async json<T = unknown>(path: string, init: RequestInit = {}, status = 200): Promise<T> {
    const response = await this.fetch(path, init)
    const text = await response.text()
    expect(`${response.status} ${response.status === status ? '' : text}`).toBe(`${status} `)
    return JSON.parse(text) as T
  }

  /** The problem that the request is answered with; fails the test if it is none. */
  async problem(path: string, init: RequestInit = {}): Promise<Problem> {
    return problemOf(await this.fetch(path, init))
  }
}

/** The problem document of a response, which must be one, and whole. */
export async function problemOf(response: Response): Promise<Problem> {
  expect(response.headers.get('content-type')).toBe('application/problem+json')
  const problem = (await response.json()) as Problem
  expect(problem).toEqual({
    type: `/problems/${problem.code}`,
    title: expect.any(String),
    status: response.status,
    detail: expect.any(String),
    instance: response.headers.get('x-request-id'),
    code: expect.any(String),
    retry: expect.any(Boolean),
    details: expect.any(Object),
  })
  return problem
}
