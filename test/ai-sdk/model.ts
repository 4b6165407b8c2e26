/** Models for tests: what a real one has said, recorded, at the pace that a test wants; or any that speaks OpenAI's chat completions. */

import { createReadStream } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { MockLanguageModelV3 } from 'ai/test'
import { readRecording, type Token } from '../../client/demo/index.ts'

type Doing = Parameters<MockLanguageModelV3['doStream']>[0]
type Part = Awaited<ReturnType<MockLanguageModelV3['doStream']>>['stream'] extends ReadableStream<infer P> ? P : never

const RECORDING = fileURLToPath(new URL('deepseek-reasoning.jsonl', import.meta.url))

/** Lets so many tokens pass, and no more until it is told so. */
export class Gate {
  private allowed = 0
  private waiting: (() => void) | null = null

  static open(): Gate {
    const gate = new Gate()
    gate.release()
    return gate
  }

  release(count = Number.POSITIVE_INFINITY): void {
    this.allowed += count
    this.waiting?.()
    this.waiting = null
  }

  async pass(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted()
    while (this.allowed <= 0) {
      await new Promise<void>((resolve, reject) => {
        this.waiting = resolve
        signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
      })
    }
    this.allowed--
  }
}

/** The tokens of the recording, an excerpt of what deepseek-reasoner answered. */
export function recording(): AsyncIterable<Token> {
  return readRecording(createReadStream(RECORDING))
}

/** Says what the recording says. */
export function recordedModel(gate = Gate.open()): MockLanguageModelV3 {
  return modelOf(() => Promise.resolve(recording()), gate)
}

/** A model at an address that speaks OpenAI's chat completions. */
export function realModel(baseUrl: string, model: string, key: string): MockLanguageModelV3 {
  return modelOf(async ({ prompt, abortSignal }) => {
    const messages = prompt.map(({ role, content }) => ({
      role,
      content:
        typeof content === 'string' ? content : content.map((part) => (part.type === 'text' ? part.text : '')).join(''),
    }))
    const response = await fetch(`${baseUrl}/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
      body: JSON.stringify({ model, messages, stream: true }),
      signal: abortSignal,
    })
    if (!response.ok || response.body === null) throw new Error(`the model has answered with ${response.status}`)
    return readRecording(response.body)
  }, Gate.open())
}

function modelOf(open: (asked: Doing) => Promise<AsyncIterable<Token>>, gate: Gate): MockLanguageModelV3 {
  return new MockLanguageModelV3({
    doStream: async (asked) => {
      const parts = partsOf(await open(asked), gate, asked.abortSignal)
      return {
        stream: new ReadableStream<Part>({
          async pull(controller) {
            const { done, value } = await parts.next()
            if (done) controller.close()
            else controller.enqueue(value)
          },
        }),
      }
    },
  })
}

async function* partsOf(
  tokens: AsyncIterable<Token>,
  gate: Gate,
  signal: AbortSignal | undefined,
): AsyncGenerator<Part, void> {
  yield { type: 'stream-start', warnings: [] }
  let open: 'text' | 'reasoning' | null = null
  for await (const { part, text } of tokens) {
    await gate.pass(signal)
    const kind = part === 'reasoning' ? 'reasoning' : 'text'
    if (open !== null && open !== kind) yield { type: `${open}-end`, id: open }
    if (open !== kind) yield { type: `${kind}-start`, id: kind }
    open = kind
    yield { type: `${kind}-delta`, id: kind, delta: text }
  }
  if (open !== null) yield { type: `${open}-end`, id: open }
  const inputTokens = { total: 1, noCache: 1, cacheRead: undefined, cacheWrite: undefined }
  const outputTokens = { total: 1, text: 1, reasoning: undefined }
  yield { type: 'finish', usage: { inputTokens, outputTokens }, finishReason: { unified: 'stop', raw: 'stop' } }
}
