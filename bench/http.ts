/**
 * Scenario `http`: requests over keep-alive connections and event streams, by the Durable Streams protocol, asked of the product and
 * of its reference server, on files and in memory, in turns in the same run.
 */

import { round } from './histogram.ts'
import { type EventLoad, measureAppends, measureEvents, measureReads, type RequestLoad } from './http-load.ts'
import { HTTP_TARGETS, type HttpTarget, type HttpTargetServer } from './http-servers.ts'
import { type Figures, figureAt, figuresAt, type Params, type Scenario } from './scenario.ts'

interface Loads {
  readonly turns: number
  readonly requests: RequestLoad
  readonly events: EventLoad
}

const LOADS: Readonly<Record<Params['size'], Loads>> = {
  tiny: {
    turns: 1,
    requests: { connections: 4, seconds: 0.5 },
    events: { readers: 10, perSecond: 20, seconds: 1, patienceSeconds: 20 },
  },
  full: {
    turns: 3,
    requests: { connections: 128, seconds: 5 },
    events: { readers: 1_000, perSecond: 50, seconds: 5, patienceSeconds: 20 },
  },
}

const PRODUCT = (HTTP_TARGETS[0] as HttpTarget).name

/** What is measured, each on a server of its own, and the figure by which the servers are compared. */
const WORKLOADS = {
  appends: 'requestsPerSecond',
  reads: 'requestsPerSecond',
  events: 'deliveriesPerSecond',
} as const
type Workload = keyof typeof WORKLOADS

export const http: Scenario = {
  name: 'http',
  summary: 'requests and event streams over HTTP, beside the reference server of Durable Streams',
  async run({ size }, context) {
    const loads = LOADS[size]
    const measure: Record<Workload, (server: HttpTargetServer) => Promise<Figures>> = {
      appends: (server) => measureAppends(server, loads.requests),
      reads: (server) => measureReads(server, loads.requests),
      events: (server) => measureEvents(server, loads.events),
    }
    const failed: Record<string, string> = {}
    const results: Record<string, Figures> = {}
    const against: Record<string, Figures> = {}
    for (const workload of Object.keys(WORKLOADS) as Workload[]) {
      const turns = new Map<string, Figures[]>(HTTP_TARGETS.map(({ name }) => [name, []]))
      for (let turn = 1; turn <= loads.turns; turn++) {
        for (const target of HTTP_TARGETS) {
          context.progress(`${workload}, turn ${turn}: ${target.name}`)
          try {
            turns.get(target.name)?.push(await onServer(target, measure[workload]))
          } catch (error) {
            // One of the others that fails is told of, and the run goes on.
            if (target.name === PRODUCT) throw error
            failed[`${target.name}, ${workload}`] = `failed: ${error instanceof Error ? error.message : error}`
          }
        }
      }
      const measured = [...turns].filter(([, all]) => all.length > 0)
      const figures = Object.fromEntries(measured.map(([name, all]) => [name, middle(all, WORKLOADS[workload])]))
      results[workload] = figures
      against[workload] = compared(figures, WORKLOADS[workload])
    }
    const setups = Object.fromEntries(HTTP_TARGETS.map(({ name, setup }) => [name, `(${setup})`]))
    const { connections } = loads.requests
    return {
      params: { size, connections, readers: loads.events.readers, ...setups, ...failed },
      results: { ...results, against },
    }
  },
  plots({ results }) {
    return (Object.keys(WORKLOADS) as Workload[]).map((workload) => ({
      title: `HTTP: ${workload}`,
      unit: 'per second',
      bars: Object.keys(figuresAt(results, workload)).map((label) => ({
        label,
        value: figureAt(results, workload, label, WORKLOADS[workload]),
      })),
    }))
  },
}

async function onServer(target: HttpTarget, work: (server: HttpTargetServer) => Promise<Figures>): Promise<Figures> {
  const server = await target.start()
  try {
    return await work(server)
  } finally {
    await server.stop()
  }
}

/** The turn that is in the middle by its rate, with the lowest and the highest rate. */
function middle(turns: readonly Figures[], rate: string): Figures {
  const sorted = [...turns].sort((a, b) => figureAt(a, rate) - figureAt(b, rate))
  const rates = sorted.map((figures) => figureAt(figures, rate))
  return {
    ...sorted[sorted.length >> 1],
    lowestPerSecond: rates[0] as number,
    highestPerSecond: rates.at(-1) as number,
  }
}

/** The product's rate by that of each other server. */
function compared(figures: Readonly<Record<string, Figures>>, rate: string): Figures {
  const others = Object.keys(figures).filter((name) => name !== PRODUCT)
  return Object.fromEntries(
    others.map((name) => [name, round(figureAt(figures, PRODUCT, rate) / figureAt(figures, name, rate))]),
  )
}
