/** What is begun on a session that is over, or half gone, says so instead of waiting for ever or telling half of it. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Broker as Server, startBroker } from '../../broker/index.ts'
import { type Broker, connect } from '../../client/index.ts'
import type { SocketFactory } from '../../client/socket.ts'
import { addressOf, open } from './transport.ts'

let server: Server
let broker: Broker

beforeEach(async () => {
  server = await startBroker({ port: 0, dataDir: null })
  broker = connect(addressOf(server))
})

afterEach(async () => {
  await broker.close()
  await server.close()
})

describe('a reader begun on a session that is over', () => {
  it('rejects with GONE when the topic was deleted elsewhere', async () => {
    const session = await broker.session('a')
    const other = await broker.session('a')
    await session.append(1)
    await other.delete()
    await expect(session.append(2)).rejects.toMatchObject({ code: 'GONE' })
    await expect(session.records().next()).rejects.toMatchObject({ code: 'GONE', details: { outcome: 'gone' } })
  })

  it('rejects with CONNECTION_CLOSED when the session or the client was closed', async () => {
    const [one, two] = [await broker.session('a'), await broker.session('b')]
    await one.close()
    await expect(one.records().next()).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' })
    await broker.close()
    await expect(two.batches().next()).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' })
  })

  it('rejects also when it was made before the end', async () => {
    const session = await broker.session('a')
    const reader = session.records()
    await session.delete()
    await expect(reader.next()).rejects.toMatchObject({ code: 'GONE' })
  })
})

it('a writer whose topic is deleted in the message that opens it is refused, not left waiting', async () => {
  const network = holdingNetwork()
  const holder = connect(addressOf(server), { webSocket: network.open })
  const session = await holder.session('a')
  network.hold()
  const opening = session.openStream('s')
  await network.held()
  await broker.delete('a')
  await network.held()
  network.release()
  const writing = opening.then((writer) => {
    writer.write('x')
    return writer.flush()
  })
  await expect(writing).rejects.toMatchObject({ code: 'GONE' })
  await holder.close()
})

it('the context as of a cursor is that of all records before it, the newest included', async () => {
  const session = await broker.session('a')
  const first = await session.context.set('plan', 'first')
  const second = await session.context.append('plan', ' second')
  expect(await session.context.get('plan', { asOf: first.cursor })).toBe('first')
  expect(await session.context.get('plan', { asOf: second.cursor })).toBe('first second')
  expect(await session.context.entries({ asOf: session.cursor })).toEqual(new Map([['plan', 'first second']]))
})

it('a resume does not tell the text of a stream whose beginning was trimmed', async () => {
  const session = await broker.session('a')
  const writer = await session.openStream('s')
  writer.write('0;1;')
  await writer.flush()
  const { offset } = await session.checkpoint('half', null)
  writer.write('2;3;')
  await writer.end()
  await session.trim({ before: offset })
  const resumed = await session.resume()
  expect(resumed).toMatchObject({ outcome: 'continued', partial: true })
  expect(resumed.streams[0]?.text).toBe('')
  const pieces = async (): Promise<void> => {
    for await (const _ of resumed.streams[0]?.pieces() ?? []);
  }
  await expect(pieces()).rejects.toMatchObject({ code: 'TRIMMED' })
})

describe('an option out of its range', () => {
  it('is refused at its own call, and the connection goes on for all others', async () => {
    const session = await broker.session('a')
    const states: string[] = []
    broker.onState((state) => states.push(state))
    const refused = { code: 'BAD_REQUEST' }
    await expect(broker.list({ limit: -1 })).rejects.toMatchObject(refused)
    await expect(broker.session('b', { lingerMs: -1 })).rejects.toMatchObject(refused)
    await expect(broker.session('b', { lingerMs: 1.5 })).rejects.toMatchObject(refused)
    await expect(session.trim({ before: -1 })).rejects.toMatchObject(refused)
    await expect(session.stop('s', { reason: 'r'.repeat(70_000) })).rejects.toMatchObject(refused)
    await expect(broker.session('b', { exclusive: true, observe: true })).rejects.toMatchObject(refused)
    expect(await session.append('still here')).toMatchObject({ offset: 0 })
    expect(states).toEqual([])
  })
})

/** A network that can hold back what the broker says and deliver it as one message. */
function holdingNetwork(): { open: SocketFactory; hold(): void; held(): Promise<void>; release(): void } {
  let holding = false
  let messages: Uint8Array[] = []
  let seen = 0
  let arrived = (): void => undefined
  let deliver: (message: Uint8Array) => void = () => undefined
  return {
    open: (url, events) => {
      deliver = (message) => events.message(message)
      return open(url, {
        ...events,
        message(bytes) {
          if (!holding) return events.message(bytes)
          messages.push(bytes.slice())
          arrived()
        },
      })
    },
    hold() {
      holding = true
    },
    async held() {
      if (messages.length === seen) {
        await new Promise<void>((resolve) => {
          arrived = resolve
        })
      }
      seen = messages.length
    },
    release() {
      holding = false
      deliver(Buffer.concat(messages))
      messages = []
    },
  }
}
