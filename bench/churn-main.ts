/**
 * A process whose sessions come and go at a steady rate, beside whatever a scenario does: each is created, streams a little, and
 * leaves for good, so that the broker flushes, reclaims, clears and compacts all the time.
 */

import { connect } from '../client/index.ts'
import type { ChurnSettings } from './churn.ts'
import { tokenText } from './token-load.ts'

const TICK_MS = 10
const CONNECTIONS = 4
/** Sessions that have not come to their end; beyond it none is begun. */
const AT_ONCE = 2_000

const { url, perSecond, tokens } = JSON.parse(process.argv[2] ?? '{}') as ChurnSettings
const brokers = Array.from({ length: CONNECTIONS }, () => connect(url))
const startedMs = performance.now()
let begun = 0
let ended = 0
let isOver = false

async function comeAndGo(n: number): Promise<void> {
  const broker = brokers[n % CONNECTIONS]
  if (broker === undefined) return
  const session = await broker.session(`churn/${n}`, { lingerMs: 0 })
  const writer = await session.openStream('reply')
  for (let i = 0; i < tokens; i++) writer.write(tokenText(i))
  await writer.end()
  await session.close()
  ended++
  tellEnd()
}

function tellEnd(): void {
  if (isOver && ended === begun) process.send?.({ sessions: ended, seconds: (performance.now() - startedMs) / 1000 })
}

function tick(): void {
  const due = ((performance.now() - startedMs) / 1000) * perSecond
  for (; begun < due && begun - ended < AT_ONCE; begun++) void comeAndGo(begun)
}

const ticks = setInterval(tick, TICK_MS)
process.on('message', () => {
  clearInterval(ticks)
  isOver = true
  tellEnd()
})
process.on('disconnect', () => process.exit(0))
process.send?.('ready')
