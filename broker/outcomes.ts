/** Where a reader may go on: the five outcomes of a resume, and the errors that end a reader. See PROTOCOL.md, Resume. */

import { type Cursor, formatCursor, LitetopicError, type ResumeOutcome } from '../protocol/index.ts'
import type { TopicState } from '../storage/index.ts'
import type { Topic } from './topic.ts'

/** What a cursor means for a topic. Throws OFFSET_BEYOND_END for one that this store cannot have given. */
export function judgeCursor(state: TopicState, incarnation: string, cursor: Cursor): ResumeOutcome {
  if (cursor.incarnation !== incarnation) return 'diverged'
  if (cursor.epoch !== state.epoch) return 'recreated'
  if (cursor.next > state.committedTo) throw beyondEnd(state, cursor.next)
  return cursor.next < state.firstOffset ? 'trimmed' : 'continued'
}

export function beyondEnd(state: TopicState, offset: number): LitetopicError {
  return new LitetopicError(
    'OFFSET_BEYOND_END',
    `offset ${offset} is beyond the end of topic ${state.name}, ${state.committedTo}`,
    { offset, nextOffset: state.committedTo },
  )
}

/** The error that ends a reader which cannot go on, with what it needs to start anew. */
export function endedError(
  topic: Topic,
  outcome: Exclude<ResumeOutcome, 'continued'>,
  incarnation: string,
): LitetopicError {
  const { name, state } = topic
  const { epoch, firstOffset } = state
  const details = { outcome, firstOffset, cursor: formatCursor({ incarnation, epoch, next: firstOffset }) }
  switch (outcome) {
    case 'trimmed':
      return new LitetopicError('TRIMMED', `topic ${name} has been trimmed to offset ${firstOffset}`, details)
    case 'recreated':
      return new LitetopicError('RECREATED', `topic ${name} was created anew since`, { ...details, epoch })
    case 'gone':
      return new LitetopicError('GONE', `topic ${name} was deleted`, { outcome })
    case 'diverged':
      return new LitetopicError('DIVERGED', `the cursor is of another history of topic ${name}`, {
        ...details,
        commonOffset: null,
      })
  }
}
