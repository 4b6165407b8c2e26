/** What a client does with a broker that stops: everything it asked is answered by the next one. */

import { afterEach, expect, it } from 'vitest'
import { type Broker as Server, startBroker } from '../../broker/index.ts'
import { type Broker, connect } from '../../client/index.ts'
import { MemoryDisk } from '../../storage/index.ts'
import { HeldStore } from '../broker/held-store.ts'
import { FaultyNetwork } from './faulty-network.ts'
import { addressOf } from './transport.ts'

let server: Server
let broker: Broker

afterEach(async () => {
  await broker.close()
  await server.close()
})

it('what a stopping broker refuses is asked of the next one, and what it had taken is stored once', async () => {
  const disk = new MemoryDisk()
  const store = await HeldStore.open(disk)
  server = await startBroker({ port: 0, store })
  const { port } = server
  const network = new FaultyNetwork()
  broker = connect(addressOf(server), { webSocket: network.open, reconnect: { minMs: 1, maxMs: 5 } })
  const session = await broker.session('a')
  const commit = store.holdJournal()
  const taken = session.append('taken')
  await broker.list()
  const closed = server.close()
  const before = network.arrived
  const refused = [
    session.append('first'),
    session.openStream('s').then((writer) => writer.end()),
    session.append('last'),
    session.stop('t'),
    broker.session('b'),
    broker.list(),
  ]
  const reader = session.records({ raw: true })
  const first = reader.next()
  // Over HTTP a broker that stops cannot be reached any more, which the client notices by itself.
  const isTold = (): boolean => network.arrived >= before + 2 || broker.state !== 'open'
  while (!isTold()) await new Promise((resolve) => setImmediate(resolve))
  commit()
  await closed
  server = await startBroker({ port, store: await HeldStore.open(disk) })
  await Promise.all([taken, ...refused])
  expect((await first).value).toMatchObject({ offset: 0, value: 'taken' })
  const records: unknown[] = ['taken']
  for await (const record of reader) {
    if (record.kind === 'message') records.push(record.value)
    if (record.kind === 'stream') records.push(`${record.streamId} ${record.state}`)
    if (records.length === 6) break
  }
  expect(records.filter((record) => record !== 't stopped')).toEqual(['taken', 'first', 's open', 'last', 's done'])
  expect((await session.describe()).nextOffset).toBe(6)
})
