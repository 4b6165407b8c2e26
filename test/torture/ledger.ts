/**
 * What the processes of the torture write down for the checker, beside the broker and not with its help: agents what they were
 * about to send and what was acknowledged, readers what they were given. Each line goes to the file in one write before
 * anything else is done, so that a SIGKILL loses at most the line that it cuts.
 */

import {
  appendFileSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'

/** A line of an agent, about one topic. `n` counts the records of a writer, which is one life of an agent. */
export type LedgerLine =
  /** A record is about to be sent; `batch`: the first `n` and the number of those that must be stored together. */
  | readonly ['intent', writer: string, n: number, digest: string, id: string | null, batch: Batch | null]
  /** It was acknowledged. */
  | readonly ['stored', writer: string, n: number, epoch: number, offset: number]
  /** The stream is about to be opened, continued or stopped. */
  | readonly ['stream', streamId: string]
  /** So many of its tokens were acknowledged. */
  | readonly ['tokens', streamId: string, count: number]
  /** Its end was acknowledged: with the number of its tokens and its offset, where they are known. */
  | readonly ['end', streamId: string, state: string, count: number | null, offset: number | null]
  /** Records below the offset are about to be trimmed. */
  | readonly ['trim', before: number]
  /** The agent saw for itself that something is wrong. */
  | readonly ['wrong', what: string]

export type Batch = readonly [first: number, count: number]

/** A line of a reader: what it was given between its last line and `next`, or what it was told is trimmed. */
export type TranscriptLine = readonly [epoch: number, next: number, records: readonly SeenRecord[], trimmed?: true]

/** What a reader was given as one: `count` tokens of one stream and part, or one record of another kind. */
export type SeenRecord = readonly [offset: number, lastOffset: number, count: number, what: string, digest: string]

/** Lines of one process, or one agent or reader, about one topic. */
export class LedgerFile<L> {
  private readonly file: number

  constructor(directory: string, kind: 'agents' | 'readers', topic: string, name: string) {
    const path = ledgerPath(directory, kind, topic, name)
    mkdirSync(join(path, '..'), { recursive: true })
    // What a kill has cut must not swallow the next line.
    if (existsSync(path)) appendFileSync(path, '\n')
    this.file = openSync(path, 'a')
  }

  add(...lines: L[]): void {
    writeSync(this.file, lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
  }

  close(): void {
    closeSync(this.file)
  }
}

/** All whole lines that were written of it, none if there is no such file. */
export function readLedger<L>(directory: string, kind: 'agents' | 'readers', topic: string, name: string): L[] {
  const path = ledgerPath(directory, kind, topic, name)
  if (!existsSync(path)) return []
  const lines: L[] = []
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    if (line === '') continue
    try {
      lines.push(JSON.parse(line) as L)
    } catch {
      // Cut by a kill: its writer did not come to act on it.
    }
  }
  return lines
}

/** Names of those who have a ledger about the topic. */
export function ledgersOf(directory: string, kind: 'agents' | 'readers', topic: string): string[] {
  const path = join(directory, kind, slug(topic))
  return existsSync(path) ? readdirSync(path) : []
}

function ledgerPath(directory: string, kind: 'agents' | 'readers', topic: string, name: string): string {
  return join(directory, kind, slug(topic), name)
}

function slug(topic: string): string {
  return topic.replaceAll('/', '_')
}
