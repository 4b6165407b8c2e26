/** The process of the clients of `soak`: so many sessions at once, one after the other, on agents whose connections are cut in turn. */

import { inspect } from 'node:util'
import { collected } from './memory.ts'
import { answerParent } from './requests.ts'
import type { SoakLoadRequests, SoakLoadSettings } from './soak-load.ts'
import { Client } from './soak-network.ts'
import { liveSession, type SoakWorld, soakCounts } from './soak-session.ts'

/** A session that is not over after this time hangs. */
const LONGEST_MS = 180_000

const settings = JSON.parse(process.argv[2] ?? '{}') as SoakLoadSettings
const counts = soakCounts()
const begunMs = new Map<number, number>()
let next = 0
let failure: unknown = null
let churning: Promise<void> | null = null
let isOver = false

const requests: SoakLoadRequests = {
  start: () => {
    isOver = false
    churning = churn().catch((error: unknown) => {
      // With its causes, which do not travel.
      failure ??= new Error(inspect(error))
    })
  },
  counts: () => {
    check()
    return counts
  },
  finish: async () => {
    isOver = true
    await churning
    check()
  },
  collect: collected,
}
answerParent(requests)
process.on('disconnect', () => process.exit(1))
process.send?.('ready')

async function churn(): Promise<void> {
  const { url, times, sessions, dropEveryMs } = settings
  const agents = Array.from({ length: settings.agents }, () => new Client(url))
  const world: SoakWorld = { url, times, agents, counts }
  let turn = 0
  const drops = setInterval(() => {
    agents[turn++ % agents.length]?.drop()
    counts.connectionsDropped++
  }, dropEveryMs)
  try {
    await Promise.all(Array.from({ length: sessions }, (_, place) => keepBusy(world, place / sessions)))
  } finally {
    clearInterval(drops)
  }
  await Promise.all(agents.map((agent) => agent.leave()))
}

/** One session after the other. They begin spread over a second, and stay spread because they are not all of the same length. */
async function keepBusy(world: SoakWorld, share: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, share * 1000))
  while (!isOver && failure === null) {
    const number = next++
    begunMs.set(number, performance.now())
    await liveSession(number, world)
    begunMs.delete(number)
  }
}

function check(): void {
  if (failure !== null) throw failure
  const [oldest] = begunMs
  if (oldest === undefined || performance.now() - oldest[1] < LONGEST_MS) return
  throw new Error(`session ${oldest[0]} has not come to its end in ${LONGEST_MS / 1000} s`)
}
