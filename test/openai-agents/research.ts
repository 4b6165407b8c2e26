/**
 * An agent for tests: it calls a tool, then another one, then answers, by a model that replays what OpenAI's Responses API once sent.
 * `recording.jsonl` is cut out of a recording that the repository vercel/ai publishes under the Apache License 2.0.
 */

import { readFileSync } from 'node:fs'
import { Agent, type Model, type ModelRequest, type ResponseStreamEvent, tool, Usage } from '@openai/agents-core'
import { type OnceToolOptions, onceTool } from '../../client/openai-agents/index.ts'

/** Where a process is: before it gives the event of that number, or in a tool, before or behind what that does. */
export type Point = `turn ${number}, event ${number}` | 'before search' | 'in search' | 'before note' | 'in note'

/** What the agent of one process meets. Tools do what they do in the world outside, which is told of it. */
export interface World {
  /** Called at each point; may never return. */
  readonly at: (point: Point) => Promise<void> | void
  readonly did: (what: string) => void
  /** Text deltas of the answer; all, if left out. */
  readonly deltas?: number
}

interface Recorded {
  readonly type: string
  readonly delta?: string
  readonly arguments?: string
}

/** From the root of the project, where tests run: programs are started compiled, elsewhere. */
const RECORDING = 'test/openai-agents/recording.jsonl'

export class ReplayingModel implements Model {
  asked = 0
  private readonly world: World
  private readonly recorded: readonly Recorded[]

  constructor(world: World) {
    this.world = world
    this.recorded = readFileSync(RECORDING, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Recorded)
  }

  getResponse(): Promise<never> {
    return Promise.reject(new Error('runs that are stored stream'))
  }

  async *getStreamedResponse({ input }: ModelRequest): AsyncGenerator<ResponseStreamEvent> {
    this.asked++
    const results = typeof input === 'string' ? 0 : input.filter(({ type }) => type === 'function_call_result').length
    const events = results < 2 ? this.call(results) : this.answer()
    for (const [i, event] of events.entries()) {
      await this.world.at(`turn ${results + 1}, event ${i}`)
      yield event
    }
  }

  private call(results: number): ResponseStreamEvent[] {
    const asked = this.recorded.find(({ type }) => type === 'response.mcp_call_arguments.done')
    const call = {
      type: 'function_call' as const,
      callId: `call_${results + 1}`,
      name: results === 0 ? 'search' : 'note',
      arguments: results === 0 ? (asked?.arguments ?? '') : '{"text":"found"}',
    }
    return [{ type: 'response_started' }, { type: 'model', event: asked }, done(`resp_${results + 1}`, [call])]
  }

  private answer(): ResponseStreamEvent[] {
    const deltas = this.recorded.filter(({ type }) => type === 'response.output_text.delta')
    const said = deltas.slice(0, this.world.deltas)
    const events = said.flatMap((event): ResponseStreamEvent[] => {
      const { delta = '', ...providerData } = event
      return [
        { type: 'output_text_delta', delta, providerData },
        { type: 'model', event },
      ]
    })
    const text = said.map(({ delta }) => delta).join('')
    const message = {
      type: 'message' as const,
      role: 'assistant' as const,
      status: 'completed' as const,
      content: [{ type: 'output_text' as const, text }],
    }
    return [{ type: 'response_started' }, ...events, done('resp_3', [message])]
  }
}

function done(
  id: string,
  output: Extract<ResponseStreamEvent, { type: 'response_done' }>['response']['output'],
): ResponseStreamEvent {
  const usage = new Usage({ inputTokens: 10, outputTokens: 5, totalTokens: 15, requests: 1 })
  return { type: 'response_done', response: { id, usage: { ...usage }, output } }
}

/** Its first tool runs once; `note` as the options say. */
export function researcher(world: World, options: OnceToolOptions = {}): Agent<undefined> {
  const doing = (name: 'search' | 'note') =>
    onceTool(
      tool({
        name,
        description: name,
        strict: false,
        parameters: { type: 'object', properties: {}, required: [], additionalProperties: true },
        execute: async (input) => {
          await world.at(`before ${name}`)
          world.did(`${name} ${JSON.stringify(input)}`)
          await world.at(`in ${name}`)
          return `${name} is done`
        },
      }),
      options,
    )
  return new Agent<undefined>({
    name: 'Researcher',
    instructions: 'Search, note, answer.',
    tools: [doing('search'), doing('note')],
  })
}
