/** What a run of the suite measured, in one shape for all: as JSON for programs, and as a table for people. */

import { createRequire } from 'node:module'
import { cpus, release, totalmem } from 'node:os'
import type { Judged } from './goals.ts'
import { short } from './plot.ts'
import type { Figures, Outcome, Size } from './scenario.ts'

export interface Run extends Outcome {
  readonly scenario: string
  /** ISO 8601. */
  readonly startedAt: string
  /** Machine and versions, of a run that was measured before the others. */
  readonly place?: string
}

export interface Report {
  /** ISO 8601. */
  readonly startedAt: string
  readonly size: Size
  readonly machine: Readonly<Record<string, string | number>>
  readonly versions: Readonly<Record<string, string>>
  readonly runs: readonly Run[]
}

export function machine(): Report['machine'] {
  const processors = cpus()
  return {
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryBytes: totalmem(),
    os: `${process.platform} ${release()}`,
  }
}

export function versions(): Report['versions'] {
  const require = createRequire(import.meta.url)
  const version = (name: string): string => (require(`${name}/package.json`) as { version: string }).version
  return {
    litetopic: version('litetopic'),
    level: version('level'),
    ws: version('ws'),
    node: process.versions.node,
    v8: process.versions.v8,
  }
}

/** Where it was measured, in one line. */
export function place({ machine, versions }: Pick<Report, 'machine' | 'versions'>): string {
  const { cpu, cores, memoryBytes, os } = machine
  const used = Object.entries(versions).map(([name, version]) => `${name} ${version}`)
  return `${cpu}, ${cores} cores, ${Math.round(Number(memoryBytes) / 2 ** 30)} GiB, ${os}; ${used.join(', ')}`
}

/** One run for people. */
export function table({ scenario, params, results }: Run): string {
  const rows = flatten(results)
  const width = Math.max(...rows.map(([name]) => name.length))
  const given = Object.entries(params).map(([name, value]) => `${name} ${value}`)
  return [
    `${scenario}: ${given.join(', ')}`,
    ...rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value.toLocaleString('en-US')}`),
  ].join('\n')
}

/** What was measured of what is to be reached, for people. */
export function goalsTable(judged: readonly Judged[]): string {
  const rows = judged
    .filter(({ verdict }) => verdict !== 'not measured')
    .map(({ goal, measured = 0, verdict }) => [goal.what, `${short(measured)} ${goal.unit}`, verdict] as const)
  const widths = [0, 1].map((column) => Math.max(0, ...rows.map((row) => row[column]?.length ?? 0)))
  const lines = rows.map(([what, measured, verdict]) =>
    ['', what.padEnd(widths[0] ?? 0), measured.padStart(widths[1] ?? 0), verdict].join('  '),
  )
  return ['goals:', ...lines].join('\n')
}

/** Each number under the names that lead to it, joined by dots. */
export function flatten(figures: Figures, prefix = ''): [string, number][] {
  return Object.entries(figures).flatMap(([name, value]): [string, number][] =>
    typeof value === 'number' ? [[prefix + name, value]] : flatten(value, `${prefix}${name}.`),
  )
}
