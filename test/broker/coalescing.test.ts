/** Property: raw and coalesced reading give the same content, wherever a reader begins, whatever its credit, while more is written. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { UP } from '../../protocol/index.ts'
import { checkpoint, context, json, message, TestBroker, tempDir, text, token } from './brokers.ts'
import type { Fill, Peer } from './peer.ts'
import { contentOf, type SeenRecord } from './reading.ts'

interface TokensStep {
  readonly kind: 'tokens'
  readonly stream: 0 | 1 | 2
  readonly tokens: readonly TokenStep[]
  readonly behind: boolean
}

interface OtherStep {
  readonly kind: 'message' | 'context' | 'checkpoint'
  readonly value: string
}

type Step = TokensStep | OtherStep

interface TokenStep {
  readonly part: 'text' | 'reasoning'
  readonly tag: 'text' | 'json' | 'bytes'
  readonly value: string
}

const tokenStep: fc.Arbitrary<TokenStep> = fc.record({
  part: fc.constantFrom('text' as const, 'text' as const, 'reasoning' as const),
  tag: fc.constantFrom('text' as const, 'text' as const, 'text' as const, 'json' as const, 'bytes' as const),
  value: fc.oneof(fc.string({ maxLength: 6 }), fc.constantFrom('', 'ä€😀', 'x'.repeat(3000))),
})

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('tokens' as const),
      stream: fc.constantFrom(0 as const, 1 as const, 2 as const),
      tokens: fc.array(tokenStep, { minLength: 1, maxLength: 5 }),
      behind: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constantFrom('message' as const, 'context' as const, 'checkpoint' as const),
      value: fc.string({ maxLength: 8 }),
    }),
  },
)

const STREAMS = ['s0', 's1', 's2']

function recordsOf(step: Step): Fill[] {
  if (step.kind === 'tokens') return tokensOf(step)
  if (step.kind === 'message') return [message(step.value)]
  if (step.kind === 'context') return [context('append', 'notes', text(step.value))]
  return [checkpoint('c', json(step.value))]
}

function tokensOf(step: TokensStep): Fill[] {
  const records: Fill[] = []
  let before: string | null = null
  for (const { part, tag, value } of step.tokens) {
    const data = tag === 'json' ? json(value) : tag === 'bytes' ? { tag, value: Buffer.from(value) } : text(value)
    records.push(token(STREAMS[step.stream] as string, data, part, before === part))
    // A record of another kind may stand between two tokens of which the second repeats.
    if (step.behind) records.push(message('between'))
    before = part
  }
  return records
}

/** Appends the steps without waiting for each; resolves with the end of the topic. */
async function write(peer: Peer, steps: readonly Step[], from: number): Promise<number> {
  const bases = steps.map((step, i) => {
    const fence = step.kind === 'tokens' ? step.stream : -1
    return peer.append({ sequence: from + i, fence }, ...recordsOf(step))
  })
  const last = (await Promise.all(bases)).at(-1) as number
  return last + recordsOf(steps.at(-1) as Step).length
}

/** The content from an offset on, of records that were read raw from the beginning. */
const since = (records: readonly SeenRecord[], offset: number): unknown[] =>
  contentOf(records.filter((record) => record.offset >= offset))

async function check(
  broker: TestBroker,
  name: string,
  before: readonly Step[],
  meanwhile: readonly Step[],
  readers: readonly { readonly at: number; readonly credit: number; readonly raw: boolean }[],
): Promise<void> {
  const [writer, reader] = [await broker.peer(), await broker.peer()]
  await writer.attach(name, { producer: 'p' })
  await reader.attach(name)
  for (const [i, id] of STREAMS.entries()) await writer.ask(UP.openStream, 0, 0, i, id, 'create')
  const middle = await write(writer, before, 3)
  const writing = write(writer, meanwhile, 3 + before.length)
  const all = await reader.read({ start: true }, { raw: true })
  const readings = await Promise.all(
    readers.map(async ({ at, credit, raw }) => {
      const offset = Math.floor(at * middle)
      return { offset, reading: await reader.read({ offset }, { creditBytes: credit, raw }) }
    }),
  )
  const end = await writing
  await reader.until(() => [all, ...readings.map(({ reading }) => reading)].every(({ position }) => position === end))
  for (const { offset, reading } of readings) {
    expect(contentOf(reading.records)).toEqual(since(all.records, offset))
  }
  reader.socket.terminate()
  writer.socket.terminate()
}

const steps = (maxLength: number) => fc.array(step, { minLength: 1, maxLength })
const readers = fc.array(
  fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    credit: fc.constantFrom(1, 40, 1000, 1_000_000),
    raw: fc.boolean(),
  }),
  { minLength: 1, maxLength: 4 },
)

describe('raw and coalesced reading', () => {
  test('give the same content, from memory, while a publisher goes on', async () => {
    const broker = await TestBroker.start()
    let run = 0
    await fc.assert(
      fc.asyncProperty(steps(30), steps(20), readers, (before, meanwhile, given) =>
        check(broker, `memory/${run++}`, before, meanwhile, given),
      ),
      { numRuns: 60 },
    )
  })

  test('give the same content from chunks, the head and memory together', async () => {
    // Flushed all the time: everything that is committed is soon in the table.
    const broker = await TestBroker.start({ dataDir: await tempDir(), durability: 'os', quietMs: 1 })
    let run = 0
    await fc.assert(
      fc.asyncProperty(steps(30), steps(20), readers, async (before, meanwhile, given) => {
        let isDone = false
        const checked = check(broker, `table/${run++}`, before, meanwhile, given).finally(() => {
          isDone = true
        })
        while (!isDone) await broker.clock.advance(5)
        await checked
      }),
      { numRuns: 25 },
    )
  })
})
