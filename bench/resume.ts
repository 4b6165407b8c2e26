/**
 * Scenario `resume`: a reader that comes late and catches up with a long stream, and a storm: many clients whose streams were
 * interrupted by a crash of the broker come back at the same moment.
 */

import { type Broker, connect, type Session } from '../client/index.ts'
import { BrokerProcess } from './broker-process.ts'
import { cpuMs } from './cpu.ts'
import { Gate } from './gate.ts'
import { percentiles, round } from './histogram.ts'
import { type Context, type Figures, figureAt, figuresAt, type Scenario, ticking } from './scenario.ts'
import { inBatches, publish, TOKEN_BYTES, TokenReaders, tokenText } from './token-load.ts'

const SIZES = {
  tiny: { tokens: 1_000, catchUps: 2, clients: 20 },
  full: { tokens: 10_000, catchUps: 50, clients: 10_000 },
} as const
/** Tokens of each stream of the storm before the crash. One more follows after it. */
const BEFORE_CRASH = 5

export const resume: Scenario = {
  name: 'resume',
  summary:
    'catch-up of a 10,000-token stream, coalesced and raw; 10,000 clients come back at once after a crash of the broker',
  async run({ size }, context) {
    const { tokens, catchUps, clients } = SIZES[size]
    const broker = await BrokerProcess.start()
    try {
      const catchUp = await measureCatchUps(broker, tokens, catchUps, context)
      const storm = await measureStorm(broker, clients, context)
      const params = { size, tokens, tokenBytes: TOKEN_BYTES, catchUps, clients, durability: 'fsync' }
      return { params, results: { catchUp, storm } }
    } finally {
      await broker.stop()
    }
  },
  plots({ results }) {
    const catchUp = figuresAt(results, 'catchUp')
    const shares = { p50: 50, p90: 90, p99: 99 }
    return [
      {
        title: 'Catching up with a long stream, from the first byte to the last',
        x: { label: 'percent of the readers' },
        y: { label: 'ms' },
        series: ['coalesced', 'raw'].map((label) => ({
          label,
          points: Object.entries(shares).map(([name, share]): [number, number] => [
            share,
            figureAt(catchUp, label, 'firstToLastMs', name),
          ]),
        })),
      },
      {
        title: 'The storm: clients that are live again',
        x: { label: 'ms since all came back at once' },
        y: { label: 'percent of the clients' },
        series: [
          {
            label: 'live: what was written after the crash has been stored, and read',
            points: Object.entries({ ...shares, max: 100 }).map(([name, share]): [number, number] => [
              figureAt(results, 'storm', 'liveMs', name),
              share,
            ]),
          },
        ],
      },
    ]
  },
}

async function measureCatchUps(
  broker: BrokerProcess,
  tokens: number,
  times: number,
  context: Context,
): Promise<Figures> {
  const publisher = connect(broker.url)
  const reader = connect(broker.url)
  const results: Record<string, Figures> = {}
  try {
    const session = await publisher.session('late/0')
    await publish([await session.openStream('reply')], 0, tokens)
    const expected = Array.from({ length: tokens }, (_, index) => tokenText(index)).join('')
    for (const [kind, raw] of Object.entries({ coalesced: false, raw: true })) {
      context.progress(`catching up with ${tokens} tokens, ${kind}`)
      const runs: CaughtUp[] = []
      for (let i = 0; i < times; i++) {
        const late = await reader.session('late/0', { observe: true })
        runs.push(await catchUp(late, raw, tokens, expected))
        await late.close()
      }
      results[kind] = {
        firstToLastMs: percentiles(runs.map(({ firstMs, lastMs }) => lastMs - firstMs)),
        askedToLastMs: percentiles(runs.map(({ askedMs, lastMs }) => lastMs - askedMs)),
        records: runs[0]?.records ?? 0,
      }
    }
  } finally {
    await publisher.close()
    await reader.close()
  }
  return results
}

interface CaughtUp {
  readonly askedMs: number
  readonly firstMs: number
  readonly lastMs: number
  readonly records: number
}

/** Throws if the tokens are not the expected ones, or a raw reader gets runs. */
async function catchUp(session: Session<unknown>, raw: boolean, tokens: number, expected: string): Promise<CaughtUp> {
  const askedMs = performance.now()
  let firstMs = 0
  let [records, count, text] = [0, 0, '']
  for await (const batch of session.batches({ raw })) {
    if (firstMs === 0) firstMs = performance.now()
    for (const record of batch) {
      if (record.kind !== 'token') continue
      records++
      count += record.count
      text += record.text
    }
    if (count >= tokens) break
  }
  const lastMs = performance.now()
  if (text !== expected || count !== tokens)
    throw new Error(`the catch-up gave ${count} tokens, not the ${tokens} written`)
  if (raw && records !== tokens) throw new Error(`a raw reader got ${records} records for ${tokens} tokens`)
  return { askedMs, firstMs, lastMs, records }
}

/** Each client writes a stream and reads it. All hear of the crash together, once the broker is up again. */
async function measureStorm(broker: BrokerProcess, clients: number, context: Context): Promise<Figures> {
  const gate = new Gate()
  const readers = new TokenReaders()
  let brokers: Broker[] = []
  try {
    context.progress(`storm: connecting ${clients} clients`)
    brokers = Array.from({ length: clients }, () => connect(broker.url, { webSocket: gate.webSocket }))
    const writers = await inBatches(clients, async (i) => {
      const session = await (brokers[i] as Broker).session(`storm/${i}`)
      const writer = await session.openStream('reply')
      readers.add(session)
      return writer
    })
    await publish(writers, 0, BEFORE_CRASH)
    await readers.reached(clients * BEFORE_CRASH)
    context.progress('storm: killing the broker')
    gate.close()
    await broker.kill()
    const startedMs = performance.now()
    await broker.restart()
    const restartMs = performance.now() - startedMs
    await gate.whenLost(clients)
    const pids = { broker: broker.pid, clients: process.pid }
    const cpuBefore = Object.values(pids).map(cpuMs)
    const emptyBytes = broker.anonBytes()
    const openedMs = performance.now()
    const live = readers.time(1, () => openedMs)
    gate.open()
    await ticking(
      context,
      () => `storm: ${live.samples} of ${clients} clients are live`,
      async () => {
        await publish(writers, BEFORE_CRASH, 1)
        await readers.reached(clients * (BEFORE_CRASH + 1))
      },
    )
    const elapsedMs = performance.now() - openedMs
    const [brokerMs = 0, clientsMs = 0] = Object.values(pids).map((pid, i) => cpuMs(pid) - (cpuBefore[i] ?? 0))
    readers.check(BEFORE_CRASH + 1)
    return {
      brokerRestartMs: round(restartMs),
      liveMs: live.percentiles(),
      cpuCores: { broker: round(brokerMs / elapsedMs), clients: round(clientsMs / elapsedMs) },
      cpuMicrosPerClient: { broker: round((brokerMs * 1000) / clients), clients: round((clientsMs * 1000) / clients) },
      brokerBytesPerClient: Math.round((broker.anonBytes() - emptyBytes) / clients),
    }
  } finally {
    await inBatches(brokers.length, async (i) => brokers[i]?.close())
  }
}
