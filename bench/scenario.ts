/** What a scenario of the suite is, and what it is given and gives. */

import type { BarPlot } from './bars.ts'
import type { Plot } from './plot.ts'

/** `tiny` shows within seconds that a scenario works; only the figures of `full` mean anything. */
export type Size = 'tiny' | 'full'

/** Figures by name, with the unit in the name. */
export type Figures = { readonly [name: string]: number | Figures }

/** What a run measured, and with what. */
export interface Outcome {
  readonly params: Readonly<Record<string, string | number>>
  readonly results: Figures
  /** What was seen again and again while it ran, for plots over time. */
  readonly samples?: readonly Sample[]
  /** Why the run fails in spite of its figures, in one line each: they were measured, and are beyond what is allowed. */
  readonly wrong?: readonly string[]
}

/** Figures of one moment; a figure may be missing in some of them. */
export type Sample = Readonly<Record<string, number | undefined>>

export interface Params {
  readonly size: Size
  /** Topics, where the scenario has a choice; else its own. */
  readonly topics: number | undefined
  /** How long, where the scenario has a choice; else its own. */
  readonly minutes: number | undefined
}

export interface Context {
  /** Tells people in one line how far the run is. */
  readonly progress: (line: string) => void
  /** What scenarios before this one measured in the same run, by name. */
  readonly earlier: ReadonlyMap<string, Outcome>
}

export interface Scenario {
  readonly name: string
  /** What it does, in one line. */
  readonly summary: string
  /** Rejects if anything that was delivered is lost, repeated, out of order or wrong. */
  run(params: Params, context: Context): Promise<Outcome>
  /** What of its results is worth a picture. */
  plots(outcome: Outcome): readonly (Plot | BarPlot)[]
}

/** The figures below a name; none if there are none. */
export function figuresAt(figures: Figures, name: string): Figures {
  const found = figures[name]
  return typeof found === 'object' ? found : {}
}

/** The number under a path of names; 0 if there is none. */
export function figureAt(figures: Figures, ...path: readonly string[]): number {
  let found: number | Figures | undefined = figures
  for (const name of path) found = typeof found === 'object' ? found[name] : undefined
  return typeof found === 'number' ? found : 0
}

/** Calls `line` for progress every two seconds while the work is under way. */
export async function ticking<T>({ progress }: Context, line: () => string, work: () => Promise<T>): Promise<T> {
  const timer = setInterval(() => progress(line()), 2_000)
  try {
    return await work()
  } finally {
    clearInterval(timer)
  }
}
