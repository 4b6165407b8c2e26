/**
 * A process of agents. Each agent works on one topic that it shares with agents of other processes, and now and then on a
 * short-lived one of its own. It is the same program after a SIGKILL: it reads in its ledger what it had not finished.
 */

import { type Broker, connect } from '../../client/index.ts'
import { Random, seedOf } from '../random.ts'
import { type AgentRole, type AgentsRole, told } from './messages.ts'
import { ShortTopics } from './short-topics.ts'
import { Work } from './work.ts'

/** So that a broker that is back is found soon. */
const RECONNECT = { minMs: 30, maxMs: 500 }

const { role, finished, tell } = told<AgentsRole>()

let acknowledged = 0
const report = setInterval(() => tell({ type: 'progress', records: acknowledged }), 500)
const broker = connect(role.url, { reconnect: RECONNECT })
await Promise.all(role.agents.map((agent) => live(broker, agent)))
await broker.close()
clearInterval(report)
process.exit(0)

async function live(broker: Broker, agent: AgentRole): Promise<void> {
  const random = new Random(seedOf(role.seed, `${agent.name}.${agent.life}`))
  const count = (records: number): void => {
    acknowledged += records
  }
  const work = await Work.begin(broker, role.directory, agent, random, { count, finished })
  const short = new ShortTopics(broker, agent, random, work.journal, finished)
  await Promise.all([work.finishOld(), work.append(), work.generate(), work.meddle(), short.visit()])
  await work.end()
}
