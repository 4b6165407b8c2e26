/**
 * Topics that are meant to be reclaimed: an agent makes one, writes, reads it back against what was acknowledged, comes again
 * when it may or may not be there any more, and leaves it behind.
 */

import { type Broker, isLitetopicError, type Session } from '../../client/index.ts'
import type { Random } from '../random.ts'
import type { Journal } from './journal.ts'
import { type AgentRole, pause } from './messages.ts'

export const SHORT_PREFIX = 'torture/short'
export const SHORT_LINGER_MS = 1_500

/** A topic that is over while it is used: the broker or the agent was away for longer than it lingers. */
const OVER = ['GONE', 'RECREATED']

export class ShortTopics {
  private readonly broker: Broker
  private readonly agent: AgentRole
  private readonly random: Random
  private readonly journal: Journal
  private readonly finished: () => boolean
  private made = 0

  constructor(broker: Broker, agent: AgentRole, random: Random, journal: Journal, finished: () => boolean) {
    this.broker = broker
    this.agent = agent
    this.random = random
    this.journal = journal
    this.finished = finished
  }

  async visit(): Promise<void> {
    while (!this.finished()) {
      await pause(this.random.between(500, 2_000))
      const name = `${SHORT_PREFIX}/${this.agent.name}/${this.agent.life}-${this.made++}`
      await this.journal.attempt(name, () => this.use(name), ...OVER)
      if (!this.random.chance(0.5)) continue
      await pause(this.random.between(0, SHORT_LINGER_MS * 2))
      await this.journal.attempt(name, () => this.use(name), ...OVER)
    }
  }

  private async use(name: string): Promise<void> {
    const session = await this.broker.session<unknown>(name, { lingerMs: SHORT_LINGER_MS })
    try {
      const values = Array.from({ length: this.random.between(1, 8) }, (_, i) => `${this.journal.writer} ${i}`)
      const stored = await Promise.all(values.map((value) => session.append(value)))
      await session.generate(`s-${this.made}-${stored[0]?.offset}`, async (stream) => stream.write('once'))
      this.journal.count(values.length + 2)
      await this.readBack(session, new Map(stored.map(({ offset }, i) => [offset, values[i]])))
    } finally {
      await session.close().catch((error: unknown) => {
        if (!isLitetopicError(error, 'GONE', 'RECREATED')) throw error
      })
    }
  }

  /** Everything that was acknowledged is there, without a hole before it. */
  private async readBack(session: Session<unknown>, stored: ReadonlyMap<number, string | undefined>): Promise<void> {
    const last = Math.max(...stored.keys())
    let next = 0
    for await (const record of session.records({ raw: true })) {
      if (record.offset !== next) this.journal.wrong(`${session.name} gave ${record.offset}, not ${next}`)
      next = record.offset + 1
      const expected = stored.get(record.offset)
      const given = record.kind === 'message' ? record.value : undefined
      if (expected !== undefined && given !== expected) {
        this.journal.wrong(`${session.name} has ${JSON.stringify(given)} at ${record.offset}, not ${expected}`)
      }
      if (record.offset >= last) return
    }
  }
}
