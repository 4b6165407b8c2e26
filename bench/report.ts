/** The result of a scenario, in one shape for all: what ran, with what, on what machine, and figures in named units. */

import { readFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'

export type Figures = { readonly [name: string]: number | Figures }

export interface Report {
  readonly scenario: string
  readonly params: Readonly<Record<string, unknown>>
  readonly results: Figures
}

export interface FullReport extends Report {
  readonly machine: Readonly<Record<string, unknown>>
  readonly versions: Readonly<Record<string, string>>
}

/** Adds machine and versions. */
export function report({ scenario, params, results }: Report): FullReport {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
    version: string
  }
  const processors = cpus()
  return {
    scenario,
    params,
    machine: {
      cpu: processors[0]?.model.trim() ?? 'unknown',
      cores: processors.length,
      memoryBytes: totalmem(),
      os: `${process.platform} ${release()}`,
    },
    versions: { litetopic: version, node: process.versions.node, v8: process.versions.v8 },
    results,
  }
}

/** The report for people. */
export function table({ scenario, params, machine, versions, results }: FullReport): string {
  const rows = flatten(results, '')
  const width = Math.max(...rows.map(([name]) => name.length))
  const given = Object.entries(params).map(([name, value]) => `${name} ${value}`)
  return [
    `${scenario}: ${given.join(', ')}`,
    `${machine.cpu}, ${machine.cores} cores; node ${versions.node}, litetopic ${versions.litetopic}`,
    ...rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value.toLocaleString('en-US')}`),
  ].join('\n')
}

/** The value below which a share of the sorted samples lies; 0 for none. */
export function percentile(sorted: readonly number[], share: number): number {
  const value = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
  return Math.round(value * 100) / 100
}

export function percentiles(samples: readonly number[]): { p50: number; p99: number } {
  const sorted = [...samples].sort((a, b) => a - b)
  return { p50: percentile(sorted, 0.5), p99: percentile(sorted, 0.99) }
}

function flatten(figures: Figures, prefix: string): [string, number][] {
  return Object.entries(figures).flatMap(([name, value]): [string, number][] =>
    typeof value === 'number' ? [[prefix + name, value]] : flatten(value, `${prefix}${name}.`),
  )
}
