/** Where a reader may go on: the five outcomes of a resume, and the errors that end a reader. See PROTOCOL.md, Resume. */

import { type Cursor, formatCursor, LitetopicError, type ResumeOutcome } from '../protocol/index.ts'
import { sharedWith, type TopicState } from '../storage/index.ts'
import type { Topic } from './topic.ts'

/** Which store incarnation this is, and which it was before: `shard` is one. */
export interface History {
  readonly incarnation: string
  readonly ancestors: readonly string[]
}

export interface Judgement {
  readonly outcome: ResumeOutcome
  /** Of `diverged`: the offset after the last record of both histories, where that is known. */
  readonly commonOffset: number | null
}

/** What a cursor means for a topic. Throws OFFSET_BEYOND_END for one that this store cannot have given. */
export function judgeCursor(state: TopicState, history: History, cursor: Cursor): Judgement {
  const { incarnation, epoch, next } = cursor
  const shared = sharedWith(state, epoch)
  if (incarnation !== history.incarnation) {
    if (!history.ancestors.includes(incarnation)) return { outcome: 'diverged', commonOffset: null }
    if (shared === null) return { outcome: 'recreated', commonOffset: null }
    // Of an ancestor that was renewed because it may have lost something, nobody knows what is shared.
    const branch = state.branches?.find((found) => found.incarnation === incarnation)
    if (branch === undefined) return { outcome: 'diverged', commonOffset: null }
    if (next > branch.next) return { outcome: 'diverged', commonOffset: branch.next }
  }
  if (shared === null) return { outcome: 'recreated', commonOffset: null }
  if (next > shared) return { outcome: 'diverged', commonOffset: shared }
  if (next > state.committedTo) throw beyondEnd(state, next)
  return { outcome: next < state.firstOffset ? 'trimmed' : 'continued', commonOffset: null }
}

export function beyondEnd(state: TopicState, offset: number): LitetopicError {
  return new LitetopicError(
    'OFFSET_BEYOND_END',
    `offset ${offset} is beyond the end of topic ${state.name}, ${state.committedTo}`,
    { offset, nextOffset: state.committedTo },
  )
}

/** There is no topic of that name; `wasThere`: the client knows one that there was. */
export function missing(name: string, wasThere: boolean): LitetopicError {
  if (!wasThere) return new LitetopicError('NOT_FOUND', `topic ${name} does not exist`, { topic: name })
  return new LitetopicError('GONE', `topic ${name} was deleted or reclaimed`, { topic: name, outcome: 'gone' })
}

/** There is a topic of that name. */
export function exists({ name }: Topic): LitetopicError {
  return new LitetopicError('TOPIC_EXISTS', `topic ${name} exists already`, { topic: name })
}

/** The client means an earlier topic of that name. */
export function recreated({ name, state }: Topic): LitetopicError {
  return new LitetopicError('RECREATED', `topic ${name} was created anew since`, {
    topic: name,
    epoch: state.epoch,
    outcome: 'recreated',
  })
}

/** The error that ends a reader which cannot go on, with what it needs to start anew. */
export function endedError(
  topic: Topic,
  outcome: Exclude<ResumeOutcome, 'continued'>,
  incarnation: string,
  commonOffset: number | null = null,
): LitetopicError {
  const { name, state } = topic
  const { epoch, firstOffset } = state
  const next = outcome === 'diverged' && commonOffset !== null ? commonOffset : firstOffset
  const details = { outcome, firstOffset, cursor: formatCursor({ incarnation, epoch, next }) }
  switch (outcome) {
    case 'trimmed':
      return new LitetopicError('TRIMMED', `topic ${name} has been trimmed to offset ${firstOffset}`, details)
    case 'recreated':
      return new LitetopicError('RECREATED', `topic ${name} was created anew since`, { ...details, epoch })
    case 'gone':
      return new LitetopicError('GONE', `topic ${name} was deleted`, { outcome })
    case 'diverged':
      return new LitetopicError('DIVERGED', divergedMessage(name, commonOffset), { ...details, commonOffset })
  }
}

/** Does the topic take records? Throws CLOSED. To be asked when it is certain that there is something to store, and no repeat. */
export function checkOpen({ name, state }: Topic): void {
  if (!state.closed) return
  const { nextOffset } = state
  throw new LitetopicError('CLOSED', `topic ${name} is closed and takes no more records`, { nextOffset })
}

/** Ends a reader that has got everything of a closed topic. */
export function closedError({ name, state }: Topic, incarnation: string): LitetopicError {
  const { epoch, committedTo: nextOffset } = state
  const cursor = formatCursor({ incarnation, epoch, next: nextOffset })
  return new LitetopicError('CLOSED', `topic ${name} is closed, and there is no more to read`, { nextOffset, cursor })
}

function divergedMessage(name: string, commonOffset: number | null): string {
  const shared = commonOffset === null ? 'is not known' : `ends at offset ${commonOffset}`
  return `the cursor is of another history of topic ${name}, and what this store shares with it ${shared}`
}
