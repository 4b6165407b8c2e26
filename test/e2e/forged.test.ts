/** A broker that is not honest: whatever it changes, moves, repeats or leaves out is refused, not read. */

import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Broker as Server, startBroker } from '../../broker/index.ts'
import { generateKey, type SealedSession, sealedSession } from '../../client/e2e/index.ts'
import { Opener } from '../../client/e2e/open.ts'
import { Seal } from '../../client/e2e/seal.ts'
import { type Broker, connect, type Session, type SessionRecord, type TokenRecord } from '../../client/index.ts'

const NAME = 'secret'
const key = generateKey()
let server: Server
let broker: Broker
let session: SealedSession
/** As the broker has them. */
let records: SessionRecord[]

beforeAll(async () => {
  server = await startBroker({ port: 0, dataDir: null })
  broker = connect(server.url)
  session = await sealedSession(broker, NAME, { key })
  await session.append('one')
  await session.append('two', { id: 'two' })
  await session.context.set('plan', 'a')
  await session.checkpoint('here', 1)
  for (const id of ['a', 'b']) {
    const stream = await session.openStream(id)
    for (let i = 0; i < 4; i++) {
      stream.write(`text ${i}`)
      stream.write(`thought ${i}`, { part: 'reasoning' })
      stream.writeJson(i, { part: 'tool' })
    }
    await stream.end({ id })
  }
  records = await rawOf(session.plain)
})

afterAll(async () => {
  await broker.close()
  await server.close()
})

async function rawOf(plain: Session): Promise<SessionRecord[]> {
  const { nextOffset } = await plain.describe()
  const all: SessionRecord[] = []
  for await (const record of plain.records({ raw: true })) {
    all.push(record)
    if (record.offset === nextOffset - 1) return all
  }
  return all
}

async function readAll(
  given: readonly SessionRecord[],
  as = NAME,
  epoch = session.plain.epoch,
): Promise<SessionRecord[]> {
  const opened: SessionRecord[] = []
  for await (const record of new Opener(as, await Seal.of(key, as, epoch)).open(given)) opened.push(record)
  return opened
}

const refused = { code: 'NOT_AUTHENTIC' }
const isSealed = (record: SessionRecord): boolean =>
  record.kind !== 'stream' || record.state === 'done' || record.state === 'failed'
const isToken = (record: SessionRecord): record is TokenRecord => record.kind === 'token'

it('what was not touched is read, also joined', async () => {
  expect(await readAll(records)).toHaveLength(records.length)
  const texts: unknown[] = []
  for await (const record of session.records()) {
    if (record.kind === 'token' && record.part === 'text') texts.push([record.streamId, record.text])
    if (record.kind === 'stream' && record.streamId === 'b' && record.state === 'done') break
  }
  expect(texts.length).toBeLessThanOrEqual(8)
  expect(texts[0]).toMatchObject(['a', expect.stringMatching(/^text 0/)])
})

it('nothing of it is read under another name, incarnation or key', async () => {
  for (const record of records.filter(isSealed)) {
    await expect(readAll([record], 'other')).rejects.toMatchObject(refused)
    await expect(readAll([record], NAME, session.plain.epoch + 1)).rejects.toMatchObject(refused)
  }
  const stranger = await sealedSession(broker, NAME, { key: generateKey() })
  await expect(stranger.records().next()).rejects.toMatchObject(refused)
  await expect(stranger.context.get('plan')).rejects.toMatchObject(refused)
  await expect(stranger.context.entries()).rejects.toMatchObject(refused)
  await expect(stranger.checkpoints()).rejects.toMatchObject(refused)
  await expect(stranger.continue('never')).rejects.toMatchObject({ code: 'STREAM_UNKNOWN' })
})

it('no bit of it may be changed', async () => {
  const sealed = records.filter((record) => record.kind === 'message' || (isToken(record) && record.bytes))
  await fc.assert(
    fc.asyncProperty(fc.nat(), fc.nat(), fc.integer({ min: 1, max: 255 }), async (which, at, flip) => {
      const record = sealed[which % sealed.length] as SessionRecord
      const before = (record.kind === 'message' ? record.value : (record as TokenRecord).bytes) as Uint8Array
      const bytes = new Uint8Array(before)
      bytes[at % bytes.length] = (bytes[at % bytes.length] as number) ^ flip
      const changed = record.kind === 'message' ? { ...record, value: bytes } : { ...record, bytes }
      await expect(readAll([changed as SessionRecord])).rejects.toMatchObject(refused)
    }),
    { numRuns: 60 },
  )
})

it('nothing may be said to be something else', async () => {
  const renamed: SessionRecord[] = records.filter(isSealed).map((record) => {
    switch (record.kind) {
      case 'message':
        return { ...record, id: 'another' } as SessionRecord
      case 'token':
        return { ...record, part: record.part === 'text' ? 'reasoning' : 'text' }
      case 'stream':
        return { ...record, streamId: record.streamId === 'a' ? 'b' : 'a' }
      default:
        return { ...record, name: 'another' }
    }
  })
  const states = records.filter((record) => record.kind === 'stream' && record.state === 'done')
  const others = records.filter(isToken).map((record) => ({ ...record, streamId: record.streamId === 'a' ? 'b' : 'a' }))
  const failed = states.map((record) => ({ ...record, state: 'failed' }) as SessionRecord)
  for (const record of [...renamed, ...others, ...failed]) {
    await expect(readAll([record])).rejects.toMatchObject(refused)
  }
})

it('no token may be left out, repeated or moved, nor a stream end before its time, nor a message come twice', async () => {
  const tokens = records.flatMap((record, i) => (isToken(record) ? [i] : []))
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...tokens), fc.constantFrom(...tokens), async (one, two) => {
      const without = records.filter((_, i) => i !== one)
      await expect(readAll(without)).rejects.toMatchObject(refused)
      const repeated = records.toSpliced(Math.max(one, two) + 1, 0, records[Math.min(one, two)] as SessionRecord)
      await expect(readAll(repeated)).rejects.toMatchObject(refused)
      const [a, b] = [records[one] as TokenRecord, records[two] as TokenRecord]
      if (one === two || a.streamId !== b.streamId || a.part !== b.part) return
      await expect(readAll(records.with(one, b).with(two, a))).rejects.toMatchObject(refused)
    }),
    { numRuns: 40 },
  )
  for (const [i, record] of records.entries()) {
    if (record.kind === 'stream' || record.kind === 'token') continue
    await expect(readAll(records.toSpliced(i + 1, 0, record))).rejects.toMatchObject(refused)
  }
})

it('a writer that was taken over does not come back, in whatever order', async () => {
  const begun = records.findIndex((record) => record.kind === 'stream' && record.streamId === 'a')
  const opening = records[begun] as SessionRecord
  const first = records.find((record) => isToken(record) && record.streamId === 'a') as SessionRecord
  const resumed = { ...opening, state: 'resumed' } as SessionRecord
  await expect(readAll([opening, first, resumed, first])).rejects.toMatchObject(refused)
})

it('what somebody writes who has no key is refused', async () => {
  const plain = await broker.session('mixed')
  const sealed = await sealedSession(broker, 'mixed', { key })
  await sealed.append('good')
  await plain.append('bad')
  const reading = sealed.records()
  expect((await reading.next()).value).toMatchObject({ value: 'good' })
  await expect(reading.next()).rejects.toMatchObject(refused)
  const stream = await plain.openStream('reply')
  stream.write('bad')
  await stream.end()
  const tokens = sealed.records({ from: { offset: 2 } })
  expect((await tokens.next()).value).toMatchObject({ kind: 'stream', state: 'open' })
  await expect(tokens.next()).rejects.toMatchObject(refused)
  await expect(sealed.records({ from: { offset: 4 } }).next()).rejects.toMatchObject(refused)
})
