/** `litetopic top`: sessions, rates and connections of a broker, live on the whole screen. */

import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Broker } from '../../client/index.ts'
import { isErrorCode, LitetopicError } from '../../protocol/index.ts'
import { jsonLine, write } from './output.ts'
import { accessToken, brokerUrl, type RemoteOptions, withBroker } from './remote.ts'
import { type Sample, takeSample, topOf } from './top-sample.ts'
import { screen } from './top-screen.ts'

export interface TopOptions extends RemoteOptions {
  /** Milliseconds between two looks; default 1 s. */
  readonly every?: number
  /** So many looks, instead of going on. */
  readonly count?: number
  /** Each look as a line of JSON. */
  readonly json?: boolean
}

const ENTER = '\x1b[?1049h\x1b[?25l'
const LEAVE = '\x1b[?25h\x1b[?1049l'
const CTRL_C = '\x03'
const CLEAR = '\x1b[H\x1b[J'

/**
 * Shows the topics below the prefix, at most 1,000 of them, until `q`, Ctrl-C, or `count` looks. Where the output is no terminal, each
 * look is printed below the one before. Rejects with BROKER_UNREACHABLE or BAD_NAME.
 */
export async function top(prefix: string, options: TopOptions): Promise<void> {
  await withBroker(options, async (broker) => {
    const isScreen = process.stdout.isTTY === true && options.json !== true
    const leaving = new AbortController()
    const keys = (data: Buffer): void => {
      if (data.includes('q') || data.includes(CTRL_C)) leaving.abort()
    }
    if (isScreen) {
      process.stdout.write(ENTER)
      if (process.stdin.isTTY) process.stdin.setRawMode(true)
      process.stdin.on('data', keys)
    }
    try {
      await look(broker, prefix, options, leaving.signal, isScreen)
    } finally {
      if (isScreen) {
        process.stdin.off('data', keys)
        if (process.stdin.isTTY) process.stdin.setRawMode(false)
        process.stdin.pause()
        process.stdout.write(LEAVE)
      }
    }
  })
}

async function look(
  broker: Broker,
  prefix: string,
  options: TopOptions,
  signal: AbortSignal,
  isScreen: boolean,
): Promise<void> {
  const url = brokerUrl(options.url)
  const metrics = metricsOf(url, await accessToken(options))
  let before: Sample | null = null
  for (let looks = 0; looks < (options.count ?? Number.POSITIVE_INFINITY) && !signal.aborted; looks++) {
    const now = await takeSample(broker, metrics, prefix, Date.now())
    const seen = topOf(before ?? now, now)
    before = now
    if (options.json === true) await write(jsonLine(seen))
    else {
      // Some terminals do not say, or say 0.
      const columns = process.stdout.columns || 100
      const rows = process.stdout.rows || 30
      const text = screen(seen, url, { columns, rows }).join('\n')
      await write(isScreen ? `${CLEAR}${text}` : `${text}\n`)
    }
    if (looks + 1 < (options.count ?? Number.POSITIVE_INFINITY)) await paused(options.every ?? 1_000, signal)
  }
}

/** A key or the end of its time ends it. */
async function paused(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  const waiting = new AbortController()
  await Promise.race([
    sleep(ms, undefined, { signal: waiting.signal }).catch(() => undefined),
    once(signal, 'abort', { signal: waiting.signal }).catch(() => undefined),
  ])
  waiting.abort()
}

/** How to ask a broker for its metrics, whatever its address is for. Rejects with BROKER_UNREACHABLE, or what it is refused with. */
function metricsOf(address: string, token: string | undefined): () => Promise<string> {
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` }
  const url = new URL('/metrics', address.replace(/^ws/, 'http'))
  return async () => {
    const answer = await fetch(url, { headers }).catch((cause: unknown) => {
      throw new LitetopicError('BROKER_UNREACHABLE', `no broker answers at ${url}`, { url: String(url) }, cause)
    })
    if (answer.ok) return answer.text()
    const { code, detail } = (await answer.json().catch(() => ({}))) as { code?: unknown; detail?: string }
    if (isErrorCode(code)) throw new LitetopicError(code, `${url}: ${detail}`)
    throw new LitetopicError('BAD_REQUEST', `${url} answers with ${answer.status}`, { status: answer.status })
  }
}
