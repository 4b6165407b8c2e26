/** Any chunks at all, stored and given back: from the start, from every cursor, put together or as they were. Some 1 s. */

import { readUIMessageStream, type UIMessage, type UIMessageChunk } from 'ai'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { readChunkEvents, readChunks, writeChunks } from '../../client/ai-sdk/index.ts'
import type { Session } from '../../client/index.ts'
import { client, collect, serve } from './broker.ts'

type Chunks = readonly UIMessageChunk[]

/** In ms: 20 answers take a second where nothing else runs. */
const timeout = 120_000

const text = fc.oneof(
  { weight: 6, arbitrary: fc.string({ unit: 'grapheme', maxLength: 8 }) },
  { weight: 1, arbitrary: fc.constantFrom('\ud83d', '\ude00', 'a\ud83d', '', '\0', '\n\ndata: x') },
  { weight: 1, arbitrary: fc.constantFrom('x'.repeat(16_385), '😀é'.repeat(10_000)) },
)
const metadata = fc.option(
  fc.dictionary(
    fc.constantFrom('openai', 'anthropic'),
    fc.dictionary(fc.string({ maxLength: 4 }), fc.jsonValue({ maxDepth: 2 })),
    { minKeys: 1 },
  ),
  { nil: undefined, freq: 3 },
)
const json = fc.jsonValue({ maxDepth: 2 })
/** Ids as providers make them, and some that are no name of a part. */
const id = fc.oneof(
  fc.constantFrom('0', 'txt-1', 'msg_68c', 'a:b', '', 'é'),
  fc.constant('x'.repeat(300)),
  fc.string({ maxLength: 5 }),
)

/** What belongs together, in its order, about something of that id. */
const block = (id: string): fc.Arbitrary<Chunks> =>
  fc.oneof(
    spoken('text', id),
    spoken('reasoning', id),
    fc
      .tuple(fc.array(text), json, json, metadata)
      .map(
        ([deltas, input, output, providerMetadata]): Chunks => [
          { type: 'tool-input-start', toolCallId: id, toolName: 'weather', providerMetadata },
          ...deltas.map((inputTextDelta) => ({ type: 'tool-input-delta' as const, toolCallId: id, inputTextDelta })),
          { type: 'tool-input-available', toolCallId: id, toolName: 'weather', input, providerMetadata },
          { type: 'tool-output-available', toolCallId: id, output },
        ],
      ),
    fc.tuple(json, fc.boolean()).map(([data, transient]): Chunks => [{ type: 'data-progress', id, data, transient }]),
    metadata.map(
      (providerMetadata): Chunks => [
        { type: 'file', url: `data:image/png;base64,${'A'.repeat(40_000)}`, mediaType: 'image/png', providerMetadata },
        { type: 'source-url', sourceId: id, url: 'https://example.org', title: 'é', providerMetadata },
        { type: 'message-metadata', messageMetadata: { at: 1, of: id } },
      ],
    ),
  )

function spoken(kind: 'text' | 'reasoning', id: string): fc.Arbitrary<Chunks> {
  const delta = fc.record({ text, metadata, more: fc.option(json, { nil: undefined, freq: 9 }) })
  return fc.tuple(metadata, fc.array(delta, { maxLength: 8 })).map(
    ([providerMetadata, deltas]): Chunks => [
      { type: `${kind}-start`, id, providerMetadata },
      ...deltas.map(({ text, metadata, more }) => ({
        ...{ type: `${kind}-delta` as const, id, delta: text, providerMetadata: metadata },
        // The AI SDK's schema lets through what it does not know.
        ...(more === undefined ? {} : { more }),
      })),
      { type: `${kind}-end`, id, providerMetadata },
    ],
  )
}

/** Steps of blocks that are under way at the same time. */
const answers: fc.Arbitrary<Chunks> = fc
  .array(
    fc
      .uniqueArray(id, { maxLength: 3 })
      .chain((ids) => fc.tuple(fc.tuple(...ids.map(block)), fc.array(fc.nat({ max: 2 }), { maxLength: 40 }))),
    { maxLength: 3 },
  )
  .map((steps) => [
    { type: 'start', messageId: 'm', messageMetadata: { model: 'x' } },
    ...steps.flatMap(
      ([blocks, order]): Chunks => [{ type: 'start-step' }, ...interleaved(blocks, order), { type: 'finish-step' }],
    ),
    { type: 'finish', finishReason: 'stop' },
  ])

function interleaved(blocks: readonly Chunks[], order: readonly number[]): UIMessageChunk[] {
  const left = blocks.map((chunks) => [...chunks])
  const picked = order.flatMap((i) => left[i]?.shift() ?? [])
  return [...picked, ...left.flat()]
}

const asJson = (value: unknown): unknown => JSON.parse(JSON.stringify(value))
const source = (chunks: Chunks): ReadableStream<UIMessageChunk> => ReadableStream.from([...chunks])

async function messageOf(stream: ReadableStream<UIMessageChunk>): Promise<UIMessage | undefined> {
  let message: UIMessage | undefined
  for await (const state of readUIMessageStream({ stream })) message = state
  return message
}

async function write(session: Session, streamId: string, chunks: Chunks): Promise<void> {
  const stream = await session.openStream(streamId)
  await writeChunks(stream, source(chunks))
  await stream.end()
}

it('gives back what was stored, chunk by chunk, from the start and from every cursor', { timeout }, async () => {
  const session = await client(await serve()).session('chat/1')
  let runs = 0
  await fc.assert(
    fc.asyncProperty(answers, fc.nat(), async (chunks, place) => {
      const streamId = `a${++runs}`
      await write(session, streamId, chunks)
      const events = await collect(readChunkEvents(session, streamId, { coalesce: false }))
      expect(events.map(({ chunk }) => chunk)).toEqual(asJson(chunks))
      const at = place % events.length
      const rest = await collect(readChunkEvents(session, streamId, { from: events[at]?.cursor, coalesce: false }))
      expect(rest).toEqual(events.slice(at + 1))
    }),
    { numRuns: 20 },
  )
})

it('put together it is fewer chunks, the same text in the same order, and the same message, also in two parts', {
  timeout,
}, async () => {
  const session = await client(await serve()).session('chat/1')
  let runs = 0
  await fc.assert(
    fc.asyncProperty(answers, fc.nat(), async (chunks, place) => {
      const streamId = `a${++runs}`
      await write(session, streamId, chunks)
      const events = await collect(readChunkEvents(session, streamId))
      expect(events.length).toBeLessThanOrEqual(chunks.length)
      const expected = await messageOf(source(asJson(chunks) as Chunks))
      expect(await messageOf(readChunks(session, streamId))).toEqual(expected)
      const at = place % events.length
      const rest = await collect(readChunkEvents(session, streamId, { from: events[at]?.cursor }))
      const both = [...events.slice(0, at + 1), ...rest].map(({ chunk }) => chunk)
      expect(await messageOf(source(both))).toEqual(expected)
    }),
    { numRuns: 20 },
  )
})

it('a delta costs a token of text, and a run of them is one chunk', async () => {
  const session = await client(await serve()).session('chat/1')
  const deltas = Array.from({ length: 50 }, (_, i) => ({ type: 'text-delta' as const, id: 't', delta: `${i} ` }))
  await write(session, 'a', [{ type: 'text-start', id: 't' }, ...deltas, { type: 'text-end', id: 't' }])
  const chunks = await collect(readChunks(session, 'a'))
  expect(chunks).toEqual([
    { type: 'text-start', id: 't' },
    { type: 'text-delta', id: 't', delta: deltas.map(({ delta }) => delta).join('') },
    { type: 'text-end', id: 't' },
  ])
  const parts: string[] = []
  for await (const record of session.records({ raw: true })) {
    if (record.kind === 'token') parts.push(record.part)
    if (record.kind === 'stream' && record.state === 'done') break
  }
  expect(parts).toEqual(['ui', ...deltas.map(() => 'text:t'), 'ui'])
})

it('what has no JSON is refused, and ends the source', async () => {
  const session = await client(await serve()).session('chat/1')
  const loop: Record<string, unknown> = {}
  loop.loop = loop
  let cancelled: unknown
  const endless = new ReadableStream<UIMessageChunk>({
    pull: (controller) => controller.enqueue({ type: 'data-x', data: loop }),
    cancel: (reason) => {
      cancelled = reason
    },
  })
  await expect(writeChunks(await session.openStream('a'), endless)).rejects.toMatchObject({ code: 'BAD_VALUE' })
  expect(cancelled).toMatchObject({ code: 'BAD_VALUE' })
})

it('a stream of another making is refused, and one that is not there', async () => {
  const session = await client(await serve()).session('chat/1')
  const stream = await session.openStream('a')
  stream.write('plain text')
  await stream.end()
  await expect(collect(readChunks(session, 'a'))).rejects.toMatchObject({ code: 'BAD_VALUE' })
  await expect(collect(readChunks(session, 'b'))).rejects.toMatchObject({ code: 'STREAM_UNKNOWN' })
})
