/** Tools that run once: the call, its input and its output are stored in the session of the run, under the id of the call. */

import type { FunctionTool, RunContext, ToolInputParameters, UnknownContext } from '@openai/agents-core'
import { isLitetopicError, type Json, type OnceOptions, type Session } from '../index.ts'

/** A call of which nobody knows whether it took effect. */
export interface UnknownCall {
  readonly tool: string
  readonly callId: string
  /** Its arguments, as the model wrote them: JSON text. */
  readonly input: string
}

export interface OnceToolOptions {
  /**
   * What to do with a call that was cut off, so that nobody knows whether it took effect. `reject`, the default: the run fails with OUTCOME_UNKNOWN;
   * `run`: it runs again; a function finds out what the call did, or does it again, and returns its output.
   */
  readonly ifUnknown?: 'reject' | 'run' | ((call: UnknownCall) => unknown)
}

/** Where the calls of a run are stored. */
interface RunPlace {
  readonly session: Session<unknown>
  readonly id: string
}

/** The runs that are under way here, by the context that their tools get. */
const runs = new WeakMap<object, RunPlace>()

export function runsIn(context: RunContext<unknown>, place: RunPlace): void {
  runs.set(context, place)
}

/**
 * The tool, as one whose calls run once each in a stored run: a call that has an output is not run again when the run is taken over.
 * In any other run it is the tool as it was. Outputs must be JSON: BAD_VALUE, and the call has failed.
 */
export function onceTool<C = UnknownContext, P extends ToolInputParameters = undefined, R = unknown>(
  tool: FunctionTool<C, P, R>,
  options: OnceToolOptions = {},
): FunctionTool<C, P, R> {
  const { ifUnknown = 'reject' } = options
  const invoke: FunctionTool<C, P, R>['invoke'] = async (context, input, details) => {
    const run = runs.get(context)
    const callId = details?.toolCall?.callId
    const call = (): Promise<string | R> => tool.invoke(context, input, details)
    if (run === undefined || callId === undefined) return call()
    const once = (fn: () => unknown, how: OnceOptions['ifUnknown']): Promise<unknown> =>
      run.session.once(`${run.id}/${callId}`, fn, { tool: tool.name, input: readable(input), ifUnknown: how })
    try {
      return (await once(call, ifUnknown === 'run' ? 'run' : 'reject')) as string | R
    } catch (error) {
      if (typeof ifUnknown === 'string' || !isLitetopicError(error, 'OUTCOME_UNKNOWN')) throw error
      return (await once(() => ifUnknown({ tool: tool.name, callId, input }), 'run')) as string | R
    }
  }
  return { ...tool, invoke }
}

/** Arguments are JSON, unless the model wrote something else. */
function readable(input: string): Json {
  try {
    return JSON.parse(input) as Json
  } catch {
    return input
  }
}
