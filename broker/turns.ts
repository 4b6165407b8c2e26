/** Operations that answer with a promise, each in its turn on its topic. */

import { asLitetopicError, type LitetopicError } from '../protocol/index.ts'
import type { Topic } from './topic.ts'

/**
 * Runs the operation in its turn. It answers through `resolve` or `reject`, perhaps only after a commit, when its turn is
 * long over; what it throws rejects.
 */
export function inTurn<T>(
  topic: Topic,
  operation: (resolve: (value: T) => void, reject: (error: LitetopicError) => void) => void | Promise<void>,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const refuse = (error: unknown): void => reject(asLitetopicError(error))
    topic.run(() => {
      try {
        return operation(resolve, reject)?.catch(refuse)
      } catch (error) {
        refuse(error)
      }
    })
  })
}
