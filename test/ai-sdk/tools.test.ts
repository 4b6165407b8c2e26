/** Tools of the AI SDK that run once, called by the unmodified streamText. */

import { jsonSchema, stepCountIs, streamText, type ToolSet, tool } from 'ai'
import { MockLanguageModelV3, simulateReadableStream } from 'ai/test'
import { expect, it } from 'vitest'
import { generateMessage, onceTools } from '../../client/ai-sdk/index.ts'
import type { Session } from '../../client/index.ts'
import { client, serve } from './broker.ts'

const INPUT = { city: 'Rome' }
const usage = {
  inputTokens: { total: 1, noCache: 1, cacheRead: undefined, cacheWrite: undefined },
  outputTokens: { total: 1, text: 1, reasoning: undefined },
}

/** Calls the tool `book`, then says that it is done. */
function bookingModel(toolCallId: string): MockLanguageModelV3 {
  const input = JSON.stringify(INPUT)
  const finish = (unified: 'stop' | 'tool-calls') => ({
    ...{ type: 'finish' as const, usage },
    finishReason: { unified, raw: unified },
  })
  return new MockLanguageModelV3({
    doStream: [
      {
        stream: simulateReadableStream({
          chunks: [{ type: 'tool-call', toolCallId, toolName: 'book', input }, finish('tool-calls')],
        }),
      },
      {
        stream: simulateReadableStream({
          chunks: [
            { type: 'text-start', id: '0' },
            { type: 'text-delta', id: '0', delta: 'Booked.' },
            { type: 'text-end', id: '0' },
            finish('stop'),
          ],
        }),
      },
    ],
  })
}

const bookTool = (execute: (input: typeof INPUT) => unknown): ToolSet => ({
  book: tool({ inputSchema: jsonSchema<typeof INPUT>({ type: 'object' }), execute: async (input) => execute(input) }),
})

async function run(session: Session, streamId: string, tools: ToolSet, toolCallId = 'call-1') {
  const model = bookingModel(toolCallId)
  const { message } = await generateMessage(session, streamId, (abortSignal) =>
    streamText({ model, prompt: 'Book!', tools, stopWhen: stepCountIs(3), abortSignal }).toUIMessageStream(),
  )
  return message?.parts.find((part) => part.type === 'tool-book')
}

it('runs once for a tool call, whoever repeats it, and leaves it in the log', async () => {
  const server = await serve()
  let booked = 0
  for (const streamId of ['a', 'b']) {
    const session = await client(server).session('chat/1')
    const part = await run(
      session,
      streamId,
      onceTools(
        session,
        bookTool((input) => ({ ...input, seat: ++booked })),
      ),
    )
    expect(part).toMatchObject({ state: 'output-available', output: { city: 'Rome', seat: 1 } })
  }
  const session = await client(server).session('chat/1')
  const traced: unknown[] = []
  for await (const record of session.records()) {
    if (record.kind === 'token' && record.streamId.startsWith('once/tool/call-1/'))
      traced.push([record.part, record.text])
    if (record.kind === 'stream' && record.streamId === 'b' && record.state === 'done') break
  }
  expect(traced).toEqual([
    ['tool', '"book"'],
    ['input', '{"city":"Rome"}'],
    ['output', '{"city":"Rome","seat":1}'],
  ])
})

it('a call whose id the model has used before, for another input, is another call; long and empty ids are fine', async () => {
  const session = await client(await serve()).session('chat/1')
  let booked = 0
  const tools = onceTools(
    session,
    bookTool(({ city }) => `${city} ${++booked}`),
  )
  const book = (city: string, toolCallId: string) => tools.book?.execute?.({ city }, { toolCallId, messages: [] })
  for (const [i, id] of ['', 'é\n'.repeat(1000)].entries()) {
    const said = [await book('Rome', id), await book('Oslo', id), await book('Rome', id)]
    expect(said).toEqual([`Rome ${2 * i + 1}`, `Oslo ${2 * i + 2}`, `Rome ${2 * i + 1}`])
  }
})

it('under an id of one’s own it runs once, also when the model asks again under another', async () => {
  const session = await client(await serve()).session('chat/1')
  let booked = 0
  const tools = onceTools(
    session,
    bookTool(() => ++booked),
    { id: ({ toolName }) => `${toolName}/trip-7` },
  )
  expect(await run(session, 'a', tools, 'call-1')).toMatchObject({ output: 1 })
  expect(await run(session, 'b', tools, 'call-2')).toMatchObject({ output: 1 })
})

it('a call that was cut off is told to the model, and runs again only if that is asked for', async () => {
  const server = await serve()
  const lost = client(server)
  await new Promise<void>((resolve) => {
    const hangs = bookTool(() => {
      resolve()
      return new Promise(() => {})
    })
    void lost.session('chat/1').then((session) => run(session, 'a', onceTools(session, hangs)).catch(() => {}))
  })
  await lost.close()
  const session = await client(server).session('chat/1')
  const never = bookTool(() => {
    throw new Error('this must not run')
  })
  const part = await run(session, 'b', onceTools(session, never))
  expect(part).toMatchObject({ state: 'output-error' })
  const again = bookTool(() => 'booked')
  expect(await run(session, 'c', onceTools(session, again, { ifUnknown: 'run' }))).toMatchObject({ output: 'booked' })
})

it('preliminary results are refused before anything runs', async () => {
  const session = await client(await serve()).session('chat/1')
  let began = false
  const tools: ToolSet = {
    book: tool({
      inputSchema: jsonSchema<typeof INPUT>({ type: 'object' }),
      async *execute() {
        began = true
        yield 'half'
      },
    }),
    plan: { inputSchema: jsonSchema({ type: 'object' }) },
  }
  const wrapped = onceTools(session, tools)
  expect(wrapped.plan).toBe(tools.plan)
  const called = wrapped.book?.execute?.(INPUT, { toolCallId: 'call-1', messages: [] })
  await expect(called).rejects.toMatchObject({ code: 'BAD_VALUE' })
  expect(began).toBe(false)
})
