/**
 * What the demo's processes tell each other over Node's own channel between parent and child. None of it is about the
 * content: that travels through the broker only.
 */

import { isLitetopicError } from '../../protocol/index.ts'
import type { AuditResult } from './audit.ts'
import type { PartFile } from './spool.ts'

/** What an agent or reader is started with, as one JSON argument. */
export interface Role {
  readonly url: string
  readonly topic: string
  readonly streamId: string
}

export interface AgentRole extends Role {
  readonly tokensPath: string
  readonly tokens: number
}

export interface ReaderRole extends Role {
  /** Where to put the text received, a file per part. */
  readonly directory: string
}

/** What the reader has at the end of the stream. */
export interface ReaderReport extends AuditResult {
  readonly tokens: number
  readonly parts: Readonly<Record<string, PartFile>>
}

export type ChildMessage =
  | { readonly type: 'connection'; readonly open: boolean }
  | {
      /** Agent: what it found when it came up. */
      readonly type: 'resumed'
      readonly checkpointTokens: number | null
      readonly durableTokens: number
      readonly takenOver: boolean
    }
  /** Agent: tokens written by it and those before it. Reader: tokens received, and the newest text. */
  | { readonly type: 'progress'; readonly tokens: number; readonly text?: string }
  /** Reader: the state of the stream changed. */
  | { readonly type: 'stream'; readonly state: string }
  | { readonly type: 'published'; readonly end: string }
  | { readonly type: 'report'; readonly report: ReaderReport }
  /** What went wrong, in one line; the process exits after it. */
  | { readonly type: 'failed'; readonly message: string }

/** `finish`: nothing more will be broken, the last token may be written. `leave`: close and exit. */
export type ParentMessage = { readonly type: 'finish' | 'leave' }

/** Sends to the demo, and resolves when it is sent; does nothing when there is none any more. */
export function tell(message: ChildMessage): Promise<void> {
  return new Promise((resolve) => {
    if (process.send === undefined || !process.connected) resolve()
    else process.send(message, () => resolve())
  })
}

/** Runs an agent or reader: parses its role, exits when the demo is gone, and reports what it throws. */
export async function play<R extends Role>(
  part: (role: R, heard: (type: ParentMessage['type']) => Promise<void>) => Promise<void>,
): Promise<void> {
  const events = new EventTarget()
  const seen = new Set<string>()
  const heard = (type: string): Promise<void> =>
    new Promise((resolve) => {
      if (seen.has(type)) resolve()
      else events.addEventListener(type, () => resolve(), { once: true })
    })
  process.on('message', ({ type }: ParentMessage) => {
    seen.add(type)
    events.dispatchEvent(new Event(type))
  })
  process.once('disconnect', () => process.exit(1))
  try {
    await part(JSON.parse(process.argv[2] ?? '{}') as R, heard)
    process.exit(0)
  } catch (error) {
    await tell({ type: 'failed', message: describe(error) })
    process.exit(1)
  }
}

/** An error as one line: its code, if it has one, and its message. */
export function describe(error: unknown): string {
  if (isLitetopicError(error)) return `${error.code}: ${error.message}`
  return error instanceof Error ? error.message : String(error)
}
