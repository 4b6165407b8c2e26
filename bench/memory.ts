/** What a process holds: memory, with and without what V8 has not collected yet, open files; and the CPU time that it took. */

import { readdirSync, readFileSync } from 'node:fs'

/** Of V8, after a full collection. */
export interface Heap {
  readonly heapBytes: number
  /** Buffers, which are outside of V8's heap but belong to it. */
  readonly externalBytes: number
}

/** A collection that gives back less than this share of the heap's pages is the last one. */
const GIVEN_BACK = 0.02
const COLLECTIONS = 12

/**
 * Has V8 collect all it can: at least twice, because what the first collection finds dead may hold others, and then as long as that
 * gives pages back, because each collection moves what lives together on a few sparse pages only. Needs `--expose-gc`.
 */
export function collected(): Heap {
  if (globalThis.gc === undefined) throw new Error('the process was started without --expose-gc')
  globalThis.gc()
  let total = process.memoryUsage().heapTotal
  for (let turn = 1; turn < COLLECTIONS; turn++) {
    globalThis.gc()
    const before = total
    total = process.memoryUsage().heapTotal
    if (total > before * (1 - GIVEN_BACK)) break
  }
  const { heapUsed, external } = process.memoryUsage()
  return { heapBytes: heapUsed, externalBytes: external }
}

/** As Linux tells it; zeros elsewhere. */
export interface Resident {
  readonly rssBytes: number
  /** What no file backs: heaps, buffers and stacks. */
  readonly anonBytes: number
}

export function resident(pid: number): Resident {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    const bytes = (name: string): number =>
      Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1] ?? 0) * 1024
    return { rssBytes: bytes('VmRSS'), anonBytes: bytes('RssAnon') }
  } catch {
    return { rssBytes: 0, anonBytes: 0 }
  }
}

/** CPU time of a process since it started, of all its threads, as Linux tells it in hundredths of a second; 0 elsewhere. */
export function cpuMs(pid: number): number {
  try {
    // Behind the name, which stands in brackets and may hold anything: state, ten others, user and system time.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? []
    return (Number(fields[11]) + Number(fields[12])) * 10
  } catch {
    return 0
  }
}

/** Files and sockets that a process has open, on Linux; 0 elsewhere. */
export function openFiles(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length
  } catch {
    return 0
  }
}
