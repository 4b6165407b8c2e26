/** How events become tokens and events again: nothing is lost, whatever they hold, however the tokens come. */

import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Broker as Server, startBroker } from '../../broker/index.ts'
import { type Broker, connect, type Session, type TokenRecord } from '../../client/index.ts'
import { type Entry, EntryReader, writeEntry } from '../../client/openai-agents/entries.ts'

let server: Server
let broker: Broker
let streams = 0

beforeAll(async () => {
  server = await startBroker({ port: 0, dataDir: null })
  broker = connect(server.url)
})

afterAll(async () => {
  await broker.close()
  await server.close()
})

const raw = (data: Record<string, unknown>, source?: string): Entry => ({
  kind: 'event',
  value: {
    type: 'raw_model_stream_event',
    data: { type: 'model', ...data },
    ...(source === undefined ? {} : { source }),
  },
})

const text = (delta: string, more: Record<string, unknown> = {}, source?: string): Entry =>
  raw({ type: 'output_text_delta', delta, ...more }, source)

async function stored(session: Session, entries: readonly Entry[], isRaw: boolean): Promise<(Entry | null)[]> {
  const stream = await session.openStream(`run-${++streams}`)
  const { cursor } = session
  for (const entry of entries) await writeEntry(stream, entry)
  await stream.end()
  const reader = new EntryReader()
  const read: (Entry | null)[] = []
  for await (const record of session.records({ from: cursor, raw: isRaw })) {
    if (record.kind === 'token') read.push(...reader.take(record as TokenRecord))
    if (record.kind === 'stream' && record.state === 'done') break
  }
  return read.filter((entry) => entry !== null)
}

it('gives back every event as it was, live tokens and runs of them', async () => {
  const session = await broker.session('entries')
  const delta = fc.oneof(
    fc.string({ unit: 'grapheme' }),
    fc.string({ unit: 'binary' }),
    fc.constantFrom('', '\ud83d', '😀'),
  )
  const entry = fc.oneof(
    delta.map((value) => text(value)),
    delta.map((value) => text(value, { providerData: { sequence_number: 1 } })),
    delta.map((value) => text(value, {}, 'openai-responses')),
    fc.jsonValue().map((value) => raw({ event: value })),
    fc.constant(null).map((): Entry => ({ kind: 'takeover', value: null })),
  )
  const property = fc.asyncProperty(fc.array(entry, { maxLength: 20 }), fc.boolean(), async (entries, isRaw) => {
    expect(await stored(session, entries, isRaw)).toEqual(JSON.parse(JSON.stringify(entries)))
  })
  await fc.assert(property, { numRuns: 12 })
})

it('takes events of any size', async () => {
  const session = await broker.session('large')
  const large = '😀é"'.repeat(150_000)
  const entries = [text('a'), raw({ event: { large } }), text(large), text('b', { itemId: large }), text('c')]
  expect(await stored(session, entries, false)).toEqual(entries)
})

it('refuses what is not JSON, small and large', async () => {
  const session = await broker.session('refused')
  const stream = await session.openStream('run')
  for (const more of ['', 'x'.repeat(20_000)]) {
    await expect(writeEntry(stream, raw({ event: { at: new Date(0), more } }))).rejects.toMatchObject({
      code: 'BAD_VALUE',
    })
  }
})

it('passes over what a writer left unfinished that did not live to write the rest', async () => {
  const session = await broker.session('unfinished')
  const stream = await session.openStream('run')
  const { cursor } = session
  stream.write(new Uint8Array(5), { part: 'event' })
  stream.writeJson({ kind: 'delta', value: { type: 'raw_model_stream_event', data: {} } }, { part: 'event' })
  stream.write(new Uint8Array(5), { part: 'event' })
  await writeEntry(stream, { kind: 'takeover', value: null })
  await writeEntry(stream, text('a'))
  await writeEntry(stream, raw({ event: 'x'.repeat(100_000) }))
  await stream.end()
  const reader = new EntryReader()
  const read: unknown[] = []
  for await (const record of session.records({ from: cursor })) {
    if (record.kind === 'token') read.push(...reader.take(record))
    if (record.kind === 'stream' && record.state === 'done') break
  }
  expect(read.filter((entry) => entry !== null)).toEqual([
    { kind: 'takeover', value: null },
    text('a'),
    raw({ event: 'x'.repeat(100_000) }),
  ])
})
