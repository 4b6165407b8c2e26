/**
 * A process that runs the researcher of research.ts until it is killed: the broker, the topic and the point where it stays are its arguments.
 * What its tools do, and where it is, it says line by line.
 */

import { connect } from '../../client/index.ts'
import { AgentSession, storedRun } from '../../client/openai-agents/index.ts'
import { ReplayingModel, researcher, type World } from './research.ts'

const [url = '', topic = '', point = ''] = process.argv.slice(2)

const world: World = {
  at: (here) => {
    if (here !== point) return
    console.log('here')
    return new Promise(() => {})
  },
  did: (what) => console.log(what),
}
const session = await connect(url).session(topic)
const config = { model: new ReplayingModel(world), tracingDisabled: true }
await storedRun(session, 'research', researcher(world), 'Who won?', { session: new AgentSession(session), config })
