/** Tools of the AI SDK whose calls take effect once, also when a message is sent twice or approved in two tabs. */

import type { ToolSet } from 'ai'
import { type Json, LitetopicError, type OnceOptions, type Session } from '../index.ts'

/** A call of a tool, as the model has asked for it. */
export interface ToolCall {
  readonly toolName: string
  readonly toolCallId: string
  readonly input: unknown
}

export interface OnceToolsOptions {
  /**
   * The id under which a call runs once, see `Session.once`. Default: that of the tool call, with a checksum of tool and input. It is
   * another one when the model is asked again; name what the call is for, such as an order, if it must not happen again even then.
   */
  readonly id?: (call: ToolCall) => string
  /** For a call that was cut off. Default `reject`: the model is told, as of any tool that fails. */
  readonly ifUnknown?: OnceOptions['ifUnknown']
}

/** What of a call's options is used here; `ai` 6 and 7 have different names for all of them. */
interface Given {
  readonly toolCallId: string
  readonly abortSignal?: AbortSignal
}

/** What of a model's id for a call is kept for who reads the log, and what tells it from others. */
const ID_UNITS = 64
const CHECKSUM_BYTES = 8

type Execute = (input: unknown, given: Given) => unknown

/**
 * The same tools, with each `execute` run through `session.once`: what it returns is stored, and a repeat gets that. Input, output and
 * both ends are in the log. What a tool returns must be JSON, else its call fails with BAD_VALUE; one that yields preliminary results
 * does too, and has not run then, as only a result can be stored.
 */
export function onceTools<T extends ToolSet>(session: Session<unknown>, tools: T, options: OnceToolsOptions = {}): T {
  const wrapped = Object.entries(tools).map(([toolName, tool]) => {
    const execute = tool.execute as Execute | undefined
    if (execute === undefined) return [toolName, tool]
    const runOnce = async (input: unknown, given: Given): Promise<unknown> => {
      const { toolCallId } = given
      const logged = plain(input)
      const id = options.id?.({ toolName, toolCallId, input }) ?? (await callId(toolCallId, toolName, logged))
      const call = (signal: AbortSignal): unknown => {
        const { abortSignal } = given
        const either = abortSignal === undefined ? signal : AbortSignal.any([abortSignal, signal])
        return single(toolName, execute(input, { ...given, abortSignal: either }))
      }
      return session.once(id, call, { tool: toolName, input: logged, ifUnknown: options.ifUnknown })
    }
    return [toolName, { ...tool, execute: runOnce }]
  })
  return Object.fromEntries(wrapped) as T
}

/** Some models use an id again, or leave it empty, and some ids are long: it stands for the call only with its tool and input. */
async function callId(toolCallId: string, toolName: string, input: Json | undefined): Promise<string> {
  const facts = new TextEncoder().encode(JSON.stringify([toolCallId, toolName, input]))
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', facts))
  const checksum = Array.from(digest.subarray(0, CHECKSUM_BYTES), (byte) => byte.toString(16).padStart(2, '0'))
  return `tool/${toolCallId.slice(0, ID_UNITS).replace(/[^\x21-\x7e]/g, '_')}/${checksum.join('')}`
}

/** An iterable that nobody asks has not begun. */
function single(toolName: string, result: unknown): unknown {
  if (typeof result !== 'object' || result === null || !(Symbol.asyncIterator in result)) return result
  throw new LitetopicError('BAD_VALUE', `tool ${toolName} yields preliminary results, and only a result can be stored`)
}

/** The input as it is logged. A schema may have made of it what is not JSON. */
function plain(input: unknown): Json | undefined {
  const text = JSON.stringify(input)
  return text === undefined ? undefined : (JSON.parse(text) as Json)
}
