/** A stop races with an end, a continue, a lost connection and a killed broker, and a stream still ends once. */

import fc from 'fast-check'
import { afterEach, expect, it } from 'vitest'
import { type Broker as Server, startBroker } from '../../broker/index.ts'
import { MemoryDisk, openMemoryStore } from '../../storage/index.ts'
import { VirtualClock } from '../broker/virtual-clock.ts'
import { AGENTS, type Move, STREAMS, StreamRace } from './stream-race.ts'
import { addressOf } from './transport.ts'

const GRACE_MS = 10_000

const agent = fc.nat(AGENTS - 1)
const stream = fc.nat(STREAMS - 1)
const writer = fc.nat(3)
const move: fc.Arbitrary<Move> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constantFrom('open', 'continue', 'continue', 'stop' as const), agent, stream }),
  },
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constantFrom('write', 'write', 'write', 'end', 'fail' as const), agent, writer }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('turns' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('cut' as const), agent }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('kill', 'lose' as const) }) },
)

let server: Server
afterEach(() => server.close())

it('whatever happens at once, every stream ends once, and everybody is told that end', {
  timeout: 120_000,
}, async () => {
  let topics = 0
  let disk = new MemoryDisk()
  const clock = new VirtualClock()
  const start = async (port: number): Promise<Server> =>
    startBroker({ port, clock, streamGraceMs: GRACE_MS, store: await openMemoryStore(disk) })
  server = await start(0)
  await fc.assert(
    fc.asyncProperty(fc.array(move, { minLength: 5, maxLength: 40, size: 'max' }), async (moves) => {
      const race = new StreamRace()
      await race.open(addressOf(server), `race/${topics++}`)
      for (const each of moves) {
        if (each.do === 'turns') await turns(20)
        else if (each.do === 'lose') await clock.advance(GRACE_MS)
        else if (each.do === 'kill') {
          // Nothing that it acknowledges from here on arrives, and nothing that it stores is kept.
          for (const network of race.networks) Object.assign(network, { down: true }).cut()
          disk = disk.copy()
          const { port } = server
          await server.close()
          server = await start(port)
          for (const network of race.networks) network.down = false
        } else race.move(each)
      }
      await race.check()
      await race.close()
    }),
    { numRuns: Number(process.env.RUNS ?? 60) },
  )
  expect(topics).toBeGreaterThan(0)
})

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}
