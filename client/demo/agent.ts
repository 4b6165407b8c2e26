/**
 * The agent of the demo, a process of its own: publishes a recorded reply as one token stream at a visible pace and notes
 * its progress in checkpoints. It is the same program after a crash: it asks where it was and goes on from there.
 */

import { isLitetopicError } from '../../protocol/index.ts'
import { connect, type Session, type StreamWriter } from '../index.ts'
import { type AgentRole, play, tell } from './messages.ts'
import { Pace } from './pace.ts'
import { isDurable, isProgress, NO_PROGRESS, type Progress, ProgressCounter } from './position.ts'
import { readSpool } from './spool.ts'

/** How long the topic outlives the demo's last connection. */
const LINGER_MS = 2_000
/** Checkpoints in a whole reply. */
const CHECKPOINTS = 8
/** So that the story is not held up: a broker that is back is found within this time. */
const RECONNECT = { minMs: 50, maxMs: 500 }

await play<AgentRole>(async (role, heard) => {
  const broker = connect(role.url, { reconnect: RECONNECT })
  broker.onState((state) => void tell({ type: 'connection', open: state === 'open' }))
  const session = await broker.session(role.topic)
  const checkpoint = await lastProgress(session)
  const result = await session.generate(role.streamId, (stream) =>
    publish(role, session, stream, checkpoint, () => heard('finish')),
  )
  await tell({ type: 'published', end: result.end })
  await heard('leave')
  await session.policy({ lingerMs: LINGER_MS })
  await session.close()
  await broker.close()
})

/** What the newest checkpoint says, or null if there is none. */
async function lastProgress(session: Session): Promise<Progress | null> {
  try {
    const resumed = await session.resume({ checkpoint: 'latest' })
    const state: unknown = resumed.checkpoint?.state
    return isProgress(state) ? state : null
  } catch (error) {
    if (isLitetopicError(error, 'CHECKPOINT_UNKNOWN')) return null
    throw error
  }
}

async function publish(
  role: AgentRole,
  session: Session,
  stream: StreamWriter,
  checkpoint: Progress | null,
  mayFinish: () => Promise<void>,
): Promise<void> {
  const counter = new ProgressCounter(checkpoint ?? NO_PROGRESS)
  const every = Math.max(1, Math.ceil(role.tokens / CHECKPOINTS))
  const pace = new Pace(role.tokens)
  let live = false
  for await (const token of readSpool(role.tokensPath, counter.tokens)) {
    if (!live && isDurable(token, counter, stream.parts)) {
      counter.add(token)
      continue
    }
    if (!live) {
      live = true
      void tellStart(checkpoint, counter, stream)
    }
    if (counter.tokens === role.tokens - 1) await mayFinish()
    if (!stream.write(token.text, { part: token.part })) await stream.ready
    counter.add(token)
    if (counter.tokens % every === 0) {
      await stream.flush()
      await session.checkpoint('progress', counter.progress())
    }
    if (await pace.next()) void tell({ type: 'progress', tokens: counter.tokens })
  }
}

function tellStart(checkpoint: Progress | null, counter: ProgressCounter, stream: StreamWriter): Promise<void> {
  return tell({
    type: 'resumed',
    checkpointTokens: checkpoint?.tokens ?? null,
    durableTokens: counter.tokens,
    takenOver: stream.resumed,
  })
}
