/** Ids of requests, for logs and problem documents: the one that the caller gave, if it is one to print, else a new one. */

import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'

const SANE = /^[A-Za-z0-9._~:@/+=-]{1,128}$/

/** Gives each request its id. Those made here are told apart by process and number. */
export function newRequestIds(): (request: IncomingMessage) => string {
  const process = randomBytes(6).toString('base64url')
  let number = 0
  return ({ headers }) => {
    const given = headers['x-request-id']
    if (typeof given === 'string' && SANE.test(given)) return given
    return `${process}-${(++number).toString(36)}`
  }
}
