/** What `soak` forbids: that anything is left when all sessions are gone, or that anything grows while as many come as go. */

import type { HeapSample, SoakSample } from './soak-samples.ts'

const MiB = 1024 * 1024

/** A moment at which nobody is connected and no topic is left, after a collection. */
export type RestSample = SoakSample & HeapSample

/**
 * After the churn, against before it: at most so much more. Heaps differ by compiled code and what V8 has learnt, buffers by a journal's
 * slab, and the disk by LevelDB's own log and manifest, which it begins anew only when it is opened. After an hour, 4 MiB are 35 bytes per
 * session: less than an entry of a map. Resident memory holds what fills in the first quarter of an hour and is not handed back to
 * the system: LevelDB's blocks (33 MiB) and write buffers (two of 16 MiB for each directory), and about as much between them, because
 * LevelDB's threads allocate from parts of the heap of their own. That it does not grow from then on is a matter of GROWTH_BOUNDS.
 */
export const REST_BOUNDS = {
  brokerHeapBytes: 4 * MiB,
  brokerExternalBytes: 8 * MiB,
  brokerRssBytes: 192 * MiB,
  brokerAnonBytes: 192 * MiB,
  clientsHeapBytes: 4 * MiB,
  clientsExternalBytes: 4 * MiB,
  openFiles: 4,
  diskBytes: MiB,
  diskFiles: 8,
  topics: 0,
  topicsInMemory: 0,
  attachments: 0,
  connections: 0,
} as const satisfies Partial<Record<keyof RestSample, number>>

/** In the second half of the churn, by linear regression: at most so much more per hour. */
export const GROWTH_BOUNDS = {
  brokerHeapBytes: 4 * MiB,
  brokerExternalBytes: 4 * MiB,
  brokerAnonBytes: 64 * MiB,
  clientsHeapBytes: 4 * MiB,
  openFiles: 100,
  diskBytes: 64 * MiB,
  topics: 500,
} as const satisfies Partial<Record<keyof RestSample, number>>

/** In less time than this the slope says how samples scatter, and not what grows. */
export const GROWTH_LEAST_MINUTES = 10

/** How much more there is after than before. */
export function remains(before: RestSample, after: RestSample): Record<keyof typeof REST_BOUNDS, number> {
  return mapKeys(REST_BOUNDS, (figure) => after[figure] - before[figure])
}

/** By how much each figure grows per hour in the second half; 0 where there are not two samples. */
export function growthPerHour(samples: readonly SoakSample[]): Record<keyof typeof GROWTH_BOUNDS, number> {
  const from = (samples.at(-1)?.seconds ?? 0) / 2
  const half = samples.filter(({ seconds }) => seconds >= from)
  return mapKeys(GROWTH_BOUNDS, (figure) => {
    const points = half.flatMap(({ seconds, [figure]: value }): [number, number][] =>
      value === undefined ? [] : [[seconds, value]],
    )
    return Math.round(slope(points) * 3600)
  })
}

/** What is beyond its bound, in one line each. */
export function beyond(kind: string, found: Record<string, number>, bounds: Record<string, number>): string[] {
  return Object.entries(bounds)
    .filter(([figure, bound]) => (found[figure] ?? Number.NaN) <= bound === false)
    .map(([figure, bound]) => `${figure} ${kind} ${found[figure]}, and may by ${bound}`)
}

/** Of the line with the least squares through the points; 0 if there are less than two. */
export function slope(points: readonly (readonly [x: number, y: number])[]): number {
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length
  const [x, y] = [mean(points.map(([at]) => at)), mean(points.map(([, at]) => at))]
  const spread = points.reduce((sum, [at]) => sum + (at - x) ** 2, 0)
  return spread > 0 ? points.reduce((sum, [at, value]) => sum + (at - x) * (value - y), 0) / spread : 0
}

function mapKeys<K extends string>(keys: Readonly<Record<K, unknown>>, value: (key: K) => number): Record<K, number> {
  return Object.fromEntries((Object.keys(keys) as K[]).map((key) => [key, value(key)])) as Record<K, number>
}
