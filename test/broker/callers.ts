/** A broker without connections, and callers that ask it for verbs as HTTP requests do. */

import { Authority } from '../../broker/access/authority.ts'
import { everybody } from '../../broker/access/identity.ts'
import type { AttachRequest } from '../../broker/attach.ts'
import { Core } from '../../broker/core.ts'
import { Caller } from '../../broker/http/caller.ts'
import { limitTable } from '../../broker/limits.ts'
import { Counts } from '../../broker/observe/counts.ts'
import { policyTable } from '../../broker/policy.ts'
import { Targets } from '../../broker/wakes/targets.ts'
import { ByteWriter, LIMITS } from '../../protocol/index.ts'
import { MemoryDisk, openMemoryStore, type Store, type TopicPolicy } from '../../storage/index.ts'
import { afterwards } from './brokers.ts'
import type { Fill } from './peer.ts'
import { VirtualClock } from './virtual-clock.ts'

export class CallerBroker {
  readonly core: Core
  readonly clock: VirtualClock
  private readonly disk: MemoryDisk

  private constructor(core: Core, clock: VirtualClock, disk: MemoryDisk) {
    this.core = core
    this.clock = clock
    this.disk = disk
  }

  static async start(
    options: { disk?: MemoryDisk; store?: Store; clock?: VirtualClock; policies?: Record<string, TopicPolicy> } = {},
  ): Promise<CallerBroker> {
    const { disk = new MemoryDisk(), clock = new VirtualClock(), policies = {} } = options
    const core = await Core.open(options.store ?? (await openMemoryStore(disk)), {
      clock,
      audit: null,
      authority: await Authority.open(null, clock),
      policies: policyTable(LIMITS.lingerMs, policies),
      limits: limitTable({}, {}),
      maxMessageBytes: LIMITS.largeMessageBytes,
      counts: new Counts({ commit: () => undefined, journalWrite: () => undefined }),
      wakes: { targets: new Targets([]), write: () => '' },
      log: () => undefined,
      relieved: () => undefined,
      broken: () => undefined,
    })
    core.start()
    afterwards(() => core.close())
    return new CallerBroker(core, clock, disk)
  }

  /** Another one on what is stored now, as if this one had been killed. */
  kill(): Promise<CallerBroker> {
    return CallerBroker.start({ disk: this.disk.copy(), clock: this.clock })
  }

  request(): Caller {
    const { operations } = this.core
    const owner = { operations, overloaded: false, whenRelieved: () => undefined }
    const outlet = { clogged: false, whenUnclogged: () => undefined, cut: () => undefined }
    return new Caller(owner, outlet, everybody(), 'test')
  }

  /** A request that is attached to the topic: as a producer, anonymously, or as it says. */
  async caller(name: string, as: string | AttachRequest = { anonymous: true }): Promise<Caller> {
    const caller = this.request()
    await caller.attach(name, typeof as === 'string' ? { producer: as } : as)
    return caller
  }
}

/** Records as an append has them. */
export function recordsOf(...fills: Fill[]): { records: Uint8Array; count: number } {
  const out = new ByteWriter()
  for (const fill of fills) fill(out)
  return { records: out.copy(), count: fills.length }
}
