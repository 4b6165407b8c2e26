/** What users see when a broker comes back on an older copy of its data: what is shared goes on, what is not is told. */

import { afterEach, describe, expect, it } from 'vitest'
import { type Broker as Server, startBroker } from '../../broker/index.ts'
import { type Broker, connect, type Session, type SessionRecord } from '../../client/index.ts'
import { LitetopicError, parseCursor } from '../../protocol/index.ts'
import { beginHistory, copySnapshot, MemoryDisk, openMemoryStore, type Store } from '../../storage/index.ts'
import { addressOf } from './transport.ts'

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

interface Running {
  readonly server: Server
  readonly store: Store
}

async function serve(disk = new MemoryDisk(), port = 0): Promise<Running> {
  const store = await openMemoryStore(disk)
  const server = await startBroker({ port, store })
  cleanups.push(() => server.close())
  return { server, store }
}

/** A backup of a running broker. */
async function backup({ store }: Running): Promise<MemoryDisk> {
  const disk = new MemoryDisk()
  const target = await openMemoryStore(disk)
  const snapshot = store.snapshot()
  await copySnapshot(snapshot, target, { piece: async () => undefined })
  await snapshot.close()
  await beginHistory(target)
  return disk
}

/** Stops the broker, and starts another one on the copy in its place. */
async function restore({ server }: Running, copy: MemoryDisk): Promise<Running> {
  await server.close()
  return serve(copy, server.port)
}

function client({ server }: Running): Broker {
  const broker = connect(addressOf(server), { reconnect: { minMs: 1, maxMs: 5 } })
  cleanups.push(() => broker.close().catch(() => undefined))
  return broker
}

async function failureOf(work: Promise<unknown>): Promise<LitetopicError> {
  const error = await work.then(
    () => new Error('it did not fail'),
    (error: unknown) => error,
  )
  if (error instanceof LitetopicError) return error
  throw error
}

async function take(session: Session, from: string, count: number): Promise<SessionRecord[]> {
  const records: SessionRecord[] = []
  for await (const record of session.records({ from })) {
    records.push(record)
    if (records.length === count) break
  }
  return records
}

const valuesOf = (records: readonly SessionRecord[]): unknown[] =>
  records.map((record) => (record.kind === 'message' ? record.value : record.kind))

describe('after a backup was restored', () => {
  it('cursors up to the backup read on, and later ones end with DIVERGED and a cursor that can be gone on from', async () => {
    const before = await serve()
    const session = await client(before).session('t')
    const cursors: string[] = []
    for (const value of ['a', 'b']) cursors.push((await session.append(value)).cursor)
    const copy = await backup(before)
    cursors.push((await session.append('lost')).cursor)
    const after = await restore(before, copy)
    const anew = await client(after).session('t')
    expect(anew.created).toBe(false)
    expect(valuesOf(await take(anew, cursors[0] as string, 1))).toEqual(['b'])
    expect(await anew.resume({ cursor: cursors[1] as string })).toMatchObject({ outcome: 'continued' })
    const [, , late = ''] = cursors
    const resumed = await anew.resume({ cursor: late })
    expect(resumed).toMatchObject({ outcome: 'diverged', commonOffset: 2, cursor: null, nextOffset: 2 })
    expect(() => resumed.records()).toThrow(expect.objectContaining({ code: 'DIVERGED' }))
    const error = await failureOf(take(anew, late, 1))
    expect(error).toMatchObject({ code: 'DIVERGED', details: { outcome: 'diverged', commonOffset: 2 } })
    const there = error.details.cursor as string
    expect(parseCursor(there)).toMatchObject({ next: 2, epoch: parseCursor(late).epoch })
    await anew.append('other')
    expect(valuesOf(await take(anew, there, 1))).toEqual(['other'])
    // What the copy gives itself is of its own history.
    const cursor = (await anew.append('more')).cursor
    expect(parseCursor(cursor).incarnation).not.toBe(parseCursor(late).incarnation)
    expect(await anew.resume({ cursor })).toMatchObject({ outcome: 'continued' })
  })

  it('a cursor of a copy that was restored and copied again is judged by the offset of its own history', async () => {
    const first = await serve()
    const cursors = [(await (await client(first).session('t')).append('a')).cursor]
    const second = await restore(first, await backup(first))
    const session = await client(second).session('t')
    for (const value of ['b', 'c']) cursors.push((await session.append(value)).cursor)
    const third = await restore(second, await backup(second))
    const anew = await client(third).session('t')
    for (const cursor of cursors) expect(await anew.resume({ cursor })).toMatchObject({ outcome: 'continued' })
    // The first history ended at 1: what it stored behind that is not what the second did.
    const beyond = cursors[0]?.replace(/1$/, '2') as string
    expect(await anew.resume({ cursor: beyond })).toMatchObject({ outcome: 'diverged', commonOffset: 1 })
    const unknown = `0123456789ab${cursors[0]?.slice(12)}`
    expect(await anew.resume({ cursor: unknown })).toMatchObject({ outcome: 'diverged', commonOffset: null })
  })

  it('topics made anew, trimmed or deleted since answer as always', async () => {
    const before = await serve()
    const broker = client(before)
    const cursors = new Map<string, string>()
    for (const name of ['made-anew', 'trimmed', 'deleted']) {
      const session = await broker.session(name)
      await session.append('a')
      cursors.set(name, (await session.append('b')).cursor.replace(/2$/, '1'))
    }
    const after = await restore(before, await backup(before))
    const restored = client(after)
    await restored.delete('made-anew')
    await restored.delete('deleted')
    await (await restored.session('made-anew')).append('c')
    const trimmed = await restored.session('trimmed')
    await trimmed.append('c')
    await trimmed.trim({ before: 3 })
    const outcome = async (name: string) => {
      const session = await restored.session(name, { create: false })
      return (await session.resume({ cursor: cursors.get(name) as string })).outcome
    }
    expect(await outcome('made-anew')).toBe('recreated')
    expect(await outcome('trimmed')).toBe('trimmed')
    expect((await failureOf(outcome('deleted'))).code).toBe('NOT_FOUND')
  })
})

describe('a connected client whose broker is replaced by a restored one', () => {
  it('goes on where all that it knows is shared: reading, and writing with its numbers', async () => {
    const before = await serve()
    const writer = await client(before).session('t')
    await writer.append('a')
    const records = (await client(before).session('t')).records()
    expect(valuesOf([(await records.next()).value as SessionRecord])).toEqual(['a'])
    await restore(before, await backup(before))
    expect(await writer.append('b')).toMatchObject({ offset: 1 })
    expect(valuesOf([(await records.next()).value as SessionRecord])).toEqual(['b'])
  })

  it('ends a reader that is beyond the backup, and no other one', async () => {
    const before = await serve()
    const writer = await client(before).session('t')
    await writer.append('a')
    const copy = await backup(before)
    await writer.append('lost')
    const beyond = (await client(before).session('t')).records()
    const behind = (await client(before).session('t')).records()
    await beyond.next()
    await beyond.next()
    await behind.next()
    await behind.return()
    const after = await restore(before, copy)
    expect(await failureOf(beyond.next())).toMatchObject({
      code: 'DIVERGED',
      details: { outcome: 'diverged', commonOffset: 1 },
    })
    const anew = await client(after).session('t')
    await anew.append('b')
    expect(valuesOf(await take(anew, behind.cursor as string, 1))).toEqual(['b'])
  })

  it('ends a session whose acknowledged records are gone, with all that waits in it, and sends nothing again', async () => {
    const before = await serve()
    const session = await client(before).session('t')
    await session.append('a')
    const copy = await backup(before)
    await session.append('lost')
    await before.server.close()
    const waiting = session.append('never')
    const after = await serve(copy, before.server.port)
    const error = await failureOf(waiting)
    expect(error).toMatchObject({ code: 'DIVERGED', details: { commonOffset: 1 } })
    expect((await failureOf(session.append('nor this'))).code).toBe('DIVERGED')
    const anew = await client(after).session('t')
    expect(await anew.describe()).toMatchObject({ nextOffset: 1 })
  })

  it('ends the writer of a stream that was opened after the backup', async () => {
    const before = await serve()
    const session = await client(before).session('t')
    await session.append('a')
    const copy = await backup(before)
    const stream = await session.openStream('s')
    await restore(before, copy)
    await new Promise((resolve) => stream.signal.addEventListener('abort', resolve))
    expect(stream.signal.reason).toMatchObject({ code: 'DIVERGED', details: { commonOffset: 1 } })
  })

  it('ends sessions of topics that the backup does not have with GONE', async () => {
    const before = await serve()
    const copy = await backup(before)
    const session = await client(before).session('t')
    await session.append('a')
    await restore(before, copy)
    expect((await failureOf(session.append('b'))).code).toBe('GONE')
  })
})
