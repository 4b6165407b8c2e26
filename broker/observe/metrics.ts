/**
 * What is counted and measured, as Prometheus reads it; the only place that knows its library. A scrape costs the same however
 * many topics there are: no series is of a topic, a session or a client.
 */

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { KIND, type RecordKind } from '../../protocol/index.ts'
import { STORE_PARTS, type StorePart } from '../../storage/index.ts'
import { Counts } from './counts.ts'

export const METRICS_TYPE = Registry.PROMETHEUS_CONTENT_TYPE

/** What stands at some height now, to be asked at each scrape. */
export interface Levels {
  readonly connections: number
  readonly attachments: number
  readonly residentTopics: number
  /** Attached, and not in memory. */
  readonly dormantTopics: number
  readonly journalFullness: number
  readonly uncommittedBytes: number
  readonly unsentBytes: number
  readonly available: boolean
}

type Series = readonly (readonly [value: number, label?: string])[]

/** By name: what it says, the name of its label if it has one, and the values. */
interface Shown<T> {
  readonly help: string
  readonly label?: string
  readonly of: (source: T) => Series
}

const KINDS = Object.entries(KIND) as readonly (readonly [RecordKind, number])[]

const COUNTERS: Readonly<Record<string, Shown<Counts>>> = {
  litetopic_received_records_total: {
    help: 'Records that clients sent to be appended, refused or not',
    label: 'kind',
    of: ({ receivedRecords }) => KINDS.map(([kind, number]) => [receivedRecords[number] as number, kind]),
  },
  litetopic_received_bytes_total: {
    help: 'Bytes of the records that clients sent to be appended, as they are encoded',
    label: 'kind',
    of: ({ receivedBytes }) => KINDS.map(([kind, number]) => [receivedBytes[number] as number, kind]),
  },
  litetopic_delivered_records_total: {
    help: 'Records that readers were given: live, as they were committed; stored, read for readers behind that',
    label: 'from',
    of: ({ delivered }) => Object.entries(delivered).map(([from, { records }]) => [records, from]),
  },
  litetopic_delivered_bytes_total: {
    help: 'Bytes of the batches that readers were given',
    label: 'from',
    of: ({ delivered }) => Object.entries(delivered).map(([from, { bytes }]) => [bytes, from]),
  },
  litetopic_stream_records_total: {
    help: 'Token streams that were opened, lost, resumed, or ended as done, stopped or failed',
    label: 'state',
    of: ({ streams }) => labelled(streams),
  },
  litetopic_resumes_total: {
    help: 'Answers to resume',
    label: 'outcome',
    of: ({ resumes }) => labelled(resumes),
  },
  litetopic_rejected_total: {
    help: 'Requests and appends that were refused',
    label: 'code',
    of: ({ rejected }) => labelled(rejected),
  },
  litetopic_topics_total: {
    help: 'Topics that were created, deleted, or reclaimed after their last connection',
    label: 'event',
    of: ({ topics }) => Object.entries(topics).map(([event, count]) => [count, event]),
  },
  litetopic_chunks_written_total: { help: 'Chunks of records written into the table', of: ({ chunks }) => [[chunks]] },
  litetopic_publisher_pauses_total: {
    help: 'How often publishers had to wait for the disk or for their own socket',
    of: ({ pauses }) => [[pauses]],
  },
  litetopic_readers_behind_total: {
    help: 'How often a reader fell behind what is committed, and went on from what is stored',
    of: ({ readersBehind }) => [[readersBehind]],
  },
}

const GAUGES: Readonly<Record<string, Shown<Levels>>> = {
  litetopic_up: { help: 'Whether the store takes writes', of: ({ available }) => [[available ? 1 : 0]] },
  litetopic_connections: { help: 'Open connections of clients', of: ({ connections }) => [[connections]] },
  litetopic_attachments: { help: 'Sessions of all connections', of: ({ attachments }) => [[attachments]] },
  litetopic_topics: {
    help: 'Topics in memory, and topics that are attached and not in memory; those on disk only are not counted',
    label: 'state',
    of: ({ residentTopics, dormantTopics }) => [
      [residentTopics, 'resident'],
      [dormantTopics, 'dormant'],
    ],
  },
  litetopic_journal_fullness_ratio: {
    help: 'How full the journal is; at 0.9 publishers wait',
    of: ({ journalFullness }) => [[journalFullness]],
  },
  litetopic_uncommitted_bytes: { help: 'What waits to be durable', of: ({ uncommittedBytes }) => [[uncommittedBytes]] },
  litetopic_unsent_bytes: { help: 'What sockets have not taken yet', of: ({ unsentBytes }) => [[unsentBytes]] },
}

const COMMIT_SECONDS = 'litetopic_commit_seconds'
const COMMIT_BYTES = 'litetopic_commit_bytes'
const JOURNAL_WRITE_SECONDS = 'litetopic_journal_write_seconds'
const DISK_BYTES = 'litetopic_disk_bytes'

/** All names that begin with `litetopic_`, for dashboards and alerts to be held against. */
export const METRIC_NAMES: readonly string[] = [
  ...Object.keys(COUNTERS),
  ...Object.keys(GAUGES),
  COMMIT_SECONDS,
  COMMIT_BYTES,
  JOURNAL_WRITE_SECONDS,
  DISK_BYTES,
]

const SECONDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5]
const BYTES = [256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576]

export interface MetricsSource {
  readonly levels: () => Levels
  readonly diskBytes: (part: StorePart) => Promise<number>
}

export class Metrics {
  /** Of which the counters tell. */
  readonly counts: Counts
  private readonly registry = new Registry()

  constructor(source: MetricsSource) {
    const registers = [this.registry]
    const seconds = { buckets: SECONDS, registers }
    const help = 'From the first operation of a commit until it is durable'
    const commitSeconds = new Histogram({ name: COMMIT_SECONDS, help, ...seconds })
    const commitBytes = new Histogram({ name: COMMIT_BYTES, help: 'Size of commits', buckets: BYTES, registers })
    const written = 'Writes of the journal, with their fsync'
    const journalWrite = new Histogram({ name: JOURNAL_WRITE_SECONDS, help: written, ...seconds })
    this.counts = new Counts({
      commit(ms, bytes) {
        commitSeconds.observe(ms / 1000)
        commitBytes.observe(bytes)
      },
      journalWrite: (ms) => journalWrite.observe(ms / 1000),
    })
    this.showCounts()
    this.showLevels(source)
  }

  /** In the text format of Prometheus. */
  text(): Promise<string> {
    return Registry.merge([this.registry, processRegistry()]).metrics()
  }

  private showCounts(): void {
    const { counts } = this
    for (const [name, { help, label, of }] of Object.entries(COUNTERS)) {
      new Counter({
        ...{ name, help, labelNames: labelNames(label), registers: [this.registry] },
        collect() {
          this.reset()
          for (const [value, text] of of(counts)) this.inc(labelsOf(label, text), value)
        },
      })
    }
  }

  private showLevels({ levels, diskBytes }: MetricsSource): void {
    for (const [name, { help, label, of }] of Object.entries(GAUGES)) {
      new Gauge({
        ...{ name, help, labelNames: labelNames(label), registers: [this.registry] },
        collect() {
          for (const [value, text] of of(levels())) this.set(labelsOf(label, text), value)
        },
      })
    }
    new Gauge({
      ...{ name: DISK_BYTES, help: 'On disk, by directory', labelNames: ['part'], registers: [this.registry] },
      async collect() {
        for (const part of STORE_PARTS) this.set({ part }, await diskBytes(part))
      },
    })
  }
}

function labelled(counts: ReadonlyMap<string, number>): Series {
  return [...counts].map(([label, count]) => [count, label])
}

function labelNames(label: string | undefined): string[] {
  return label === undefined ? [] : [label]
}

function labelsOf(label: string | undefined, text: string | undefined): Record<string, string> {
  return label === undefined || text === undefined ? {} : { [label]: text }
}

let ofProcess: Registry | null = null

/** Processor, memory, collections and delay of the event loop: measured from the first scrape on, once for all brokers of the process. */
function processRegistry(): Registry {
  if (ofProcess === null) {
    ofProcess = new Registry()
    collectDefaultMetrics({ register: ofProcess })
  }
  return ofProcess
}
