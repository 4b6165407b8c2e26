/**
 * One call of a webhook, which is in the hands of strangers: to the address that was checked and no other, without following it
 * elsewhere, within a time, and reading no more of the answer than is needed.
 */

import { type IncomingMessage, type RequestOptions, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import type { LookupFunction } from 'node:net'
import { LIMITS } from '../../protocol/index.ts'
import { familyOf } from './addresses.ts'
import type { Target } from './targets.ts'

/** What is sent. */
export interface Letter {
  readonly body: string
  readonly signature: string
}

/** What came of a call: what the receiver says, as far as it is JSON, or why it has not got it, without its address. */
export type Outcome = { readonly answer: unknown } | { readonly failure: string }

/** A call whose signal is aborted has failed, for the reason of the signal. */
export function post(target: Target, letter: Letter, signal: AbortSignal): Promise<Outcome> {
  return new Promise((resolve) => {
    const { url } = target
    const send = url.protocol === 'https:' ? requestHttps : requestHttp
    const request = send(url, options(target, letter))
    const end = (outcome: Outcome): void => {
      signal.removeEventListener('abort', abort)
      request.destroy()
      resolve(outcome)
    }
    const abort = (): void => end({ failure: String(signal.reason) })
    signal.addEventListener('abort', abort)
    request.on('error', (error: NodeJS.ErrnoException) => end({ failure: error.code ?? 'the connection broke' }))
    request.on('response', (response) => {
      const { statusCode = 0 } = response
      if (statusCode < 200 || statusCode > 299) end({ failure: `it answered with status ${statusCode}` })
      else readAnswer(response, end)
    })
    if (signal.aborted) abort()
    else request.end(letter.body)
  })
}

function options({ address }: Target, { body, signature }: Letter): RequestOptions {
  const family = familyOf(address) === 'ipv6' ? 6 : 4
  // The name is not resolved again: it could have another address by now.
  const lookup: LookupFunction = (_host, { all }, callback) => {
    if (all === true) callback(null, [{ address, family }])
    else callback(null, address, family)
  }
  return {
    method: 'POST',
    agent: false,
    lookup,
    headers: {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      'webhook-signature': signature,
      'user-agent': 'litetopic',
    },
  }
}

/** An answer that is no JSON, or too long, is one all the same: it says nothing more. */
function readAnswer(response: IncomingMessage, end: (outcome: Outcome) => void): void {
  const chunks: Buffer[] = []
  let size = 0
  response.on('data', (chunk: Buffer) => {
    size += chunk.length
    chunks.push(chunk)
    if (size > LIMITS.webhookAnswerBytes) end({ answer: null })
  })
  response.on('end', () => end({ answer: parsed(Buffer.concat(chunks).toString()) }))
  response.on('error', () => end({ failure: 'its answer was cut off' }))
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
