/** What the scenario `million` asks of the process of its load. */

import type { Percentiles } from './histogram.ts'

export interface LoadSettings {
  readonly url: string
  readonly topics: number
  readonly connections: number
}

/** Something done with so many topics. */
export interface Step {
  readonly topics: number
  readonly seconds: number
}

export interface Timed extends Step {
  readonly tookMs: Percentiles
}

export interface Pace {
  /** Of all topics together. */
  readonly perSecond: number
  readonly perTopic: number
}

/** Each resolves when it is done and rejects if a record was lost, repeated, out of order or wrong. */
export type LoadRequests = {
  connect(): Promise<void>
  create(): Promise<Timed>
  attach(): Promise<Timed>
  read(): Promise<Step>
  open(): Promise<Timed>
  end(): Promise<Timed>
  /** `lateMs`: how late the writer itself was. */
  pace(pace: Pace): Promise<Timed & { readonly lateMs: Percentiles }>
  flood(flood: { readonly perTopic: number }): void
  delivered(): number
  hold(): void
  release(): Promise<void>
  settle(): Promise<void>
  leave(): Promise<void>
  resume(order: { readonly count: number; readonly perSecond: number }): Promise<Timed>
  /** Topics done in the step under way. */
  done(): number
  /** Resident memory of the load itself. */
  memory(): number
}
