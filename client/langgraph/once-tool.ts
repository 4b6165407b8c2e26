/** A tool that runs once for each call that a model makes of it, whoever runs the graph again. */

import type { RunnableConfig } from '@langchain/core/runnables'
import { DynamicStructuredTool, type StructuredTool } from '@langchain/core/tools'
import { Command, isCommand, isGraphBubbleUp, Send } from '@langchain/langgraph/web'
import { type Json, LitetopicError, type OnceOptions, type Session } from '../index.ts'
import { plainEvent, revived } from './run-events.ts'

export interface OnceToolOptions extends Pick<OnceOptions, 'ifUnknown'> {
  /** The id of a call. Default: the id that the model gave it, which must then differ from call to call within the session. */
  readonly id?: (config: RunnableConfig) => string
}

type AnyTool = Pick<StructuredTool, 'name' | 'description' | 'schema' | 'responseFormat' | 'returnDirect'> & object

/** What a tool does, which is protected in the class. */
interface Callable {
  _call(input: unknown, runManager: unknown, config: RunnableConfig): Promise<unknown>
}

/** A result as it is stored; a call that was interrupted runs again, as another one. */
type StoredResult = { readonly value: Json } | { readonly command: Json } | { readonly interrupted: true }

/**
 * The same tool through `session.once`: its result is stored under the id of the call, and a repeat gets that. A call that was cut off is
 * OUTCOME_UNKNOWN, unless `ifUnknown` is `run`; one that has failed is CALL_FAILED when it comes again; one without an id is BAD_REQUEST. What
 * `interrupt` interrupts is run again when the graph is resumed, as LangGraph does.
 */
export function onceTool(
  tool: AnyTool,
  session: (config: RunnableConfig) => Session | Promise<Session>,
  options: OnceToolOptions = {},
): DynamicStructuredTool {
  const { name, description, schema, responseFormat, returnDirect } = tool
  const run = tool as unknown as Callable
  return new DynamicStructuredTool({
    name,
    description,
    schema,
    responseFormat,
    returnDirect,
    func: async (input: unknown, runManager: unknown, config: RunnableConfig = {}) => {
      const id = options.id?.(config) ?? callId(name, config)
      const at = await session(config)
      const { data } = await plainEvent({ event: name, data: input })
      const call: OnceOptions = { tool: name, input: data as Json, ifUnknown: options.ifUnknown }
      for (let attempt = 1; ; attempt++) {
        let interrupt: { readonly error: unknown } | null = null
        const fn = async (signal: AbortSignal): Promise<StoredResult> => {
          const both = config.signal === undefined ? signal : AbortSignal.any([signal, config.signal])
          try {
            return await stored(await run._call.call(tool, input, runManager, { ...config, signal: both }))
          } catch (error) {
            if (!isGraphBubbleUp(error)) throw error
            interrupt = { error }
            return { interrupted: true }
          }
        }
        const result = await at.once(attempt === 1 ? id : `${id}/${attempt}`, fn, call)
        if (interrupt !== null) throw (interrupt as { readonly error: unknown }).error
        if (!('interrupted' in result)) return unstored(result)
      }
    },
  })
}

function callId(name: string, config: RunnableConfig & { readonly toolCall?: { readonly id?: string } }): string {
  const id = config.toolCall?.id
  if (id !== undefined && id !== '') return id
  throw new LitetopicError('BAD_REQUEST', `a call of tool ${name} has no id, so that nobody can know it again`)
}

async function stored(result: unknown): Promise<StoredResult> {
  if (!isCommand(result)) return { value: (await plainEvent({ event: '', data: result })).data as Json }
  const { graph, update, resume, goto } = result as Command
  const list = (Array.isArray(goto) ? goto : [goto]) as readonly (string | Send)[]
  const targets = list.map((to) => (typeof to === 'string' ? to : { node: to.node, args: to.args }))
  return { command: (await plainEvent({ event: '', data: { graph, update, resume, goto: targets } })).data as Json }
}

async function unstored(result: { readonly value: Json } | { readonly command: Json }): Promise<unknown> {
  if ('value' in result) return revived(result.value)
  const { goto, ...fields } = (await revived(result.command)) as { goto: (string | { node: string; args: unknown })[] }
  return new Command({ ...fields, goto: goto.map((to) => (typeof to === 'string' ? to : new Send(to.node, to.args))) })
}
