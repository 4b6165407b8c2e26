/**
 * Collects what parts of large messages leave behind. Each passes through buffers that are dead a moment later, and V8, whose
 * heap hardly grows by them, lets tens of megabytes of them pile up, then marks the whole heap to find them. They are
 * young, so collecting the young generation finds them too, in a millisecond, however many topics there are.
 */

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { LIMITS } from '../protocol/index.ts'

type Collect = (options: { readonly type: 'minor' }) => void

let collect: Collect | null = null
/** Since the last collection. The heap is the process's, and so is this. */
let passedBytes = 0

/** So many bytes of parts have come, or are about to be sent. */
export function partPassed(bytes: number): void {
  passedBytes += bytes
  if (passedBytes < LIMITS.partGarbageBytes) return
  passedBytes = 0
  collect ??= collector()
  collect({ type: 'minor' })
}

/** V8's own, which a context that is made while the flag is set has. */
function collector(): Collect {
  setFlagsFromString('--expose-gc')
  const found: Collect = runInNewContext('gc')
  setFlagsFromString('--no-expose-gc')
  return found
}
