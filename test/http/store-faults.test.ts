/** The disk fails beneath HTTP: requests are told that the store is unavailable, and the next ones find it opened anew. */

import { expect, it } from 'vitest'
import { tempDir } from '../broker/brokers.ts'
import type { Failure } from '../broker/faulty-store.ts'
import { FaultyDisk } from '../broker/faulty-store.ts'
import { turn } from '../broker/virtual-clock.ts'
import { HttpBroker, problemOf } from './http.ts'

const post = (body: string): RequestInit => ({ method: 'POST', body, headers: { 'content-type': 'text/plain' } })

for (const failure of ['before', 'after'] as const satisfies readonly Failure[]) {
  it(`refuses an append whose write fails (${failure} it is stored), with the time to come back, and then goes on`, async () => {
    const disk = new FaultyDisk(await tempDir())
    const http = await HttpBroker.start({ store: disk.open })
    expect((await http.fetch('/v1/records/a', post('one'))).status).toBe(201)
    disk.fail('journal', failure)
    const refused = await http.fetch('/v1/records/a?id=two', post('two'))
    expect(refused.headers.get('retry-after')).toBe('1')
    expect(await problemOf(refused)).toMatchObject({ status: 503, code: 'STORE_UNAVAILABLE', retry: true })
    disk.mend()
    // The store is opened anew in real time, at times of the clock.
    while (!http.test.broker.stats().available) {
      await http.test.clock.advance(100)
      for (let turns = 0; turns < 100; turns++) await turn()
    }
    const again = await http.fetch('/v1/records/a?id=two', post('two'))
    expect([again.status, await again.json()]).toEqual([
      failure === 'before' ? 201 : 200,
      expect.objectContaining({ offset: 1 }),
    ])
    const { records } = await http.json<{ records: { text: string }[] }>('/v1/records/a')
    expect(records.map(({ text }) => text)).toEqual(['one', 'two'])
  })
}
