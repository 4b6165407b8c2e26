/**
 * The reader of the demo, a process of its own: reads the topic raw from the start, through every crash, counts what is
 * wrong with the offsets, and puts the text of each part into a file for the comparison at the end.
 */

import { connect } from '../index.ts'
import { OffsetAudit } from './audit.ts'
import { play, type ReaderRole, tell } from './messages.ts'
import { PartFiles } from './spool.ts'

/** See agent.ts. */
const RECONNECT = { minMs: 50, maxMs: 500 }
/** Records between two reports of progress at most; and one for every batch that comes. */
const ENDS = new Set(['done', 'stopped', 'failed'])
/** The newest text that is shown while it comes, in UTF-16 units. */
const SHOWN_LENGTH = 80

await play<ReaderRole>(async (role, heard) => {
  const broker = connect(role.url, { reconnect: RECONNECT })
  broker.onState((state) => void tell({ type: 'connection', open: state === 'open' }))
  const session = await broker.session(role.topic)
  const files = new PartFiles(role.directory)
  const audit = new OffsetAudit()
  let tokens = 0
  let shown = ''
  let ended = false
  for await (const batch of session.batches({ from: 'start', raw: true })) {
    for (const record of batch) {
      audit.see(record.offset)
      if (record.kind === 'stream' && record.streamId === role.streamId) {
        void tell({ type: 'stream', state: record.state })
        ended ||= ENDS.has(record.state)
      }
      if (record.kind === 'token' && record.streamId === role.streamId) {
        const text = record.text ?? ''
        await files.add({ part: record.part, text })
        tokens++
        shown = (shown + text).slice(-SHOWN_LENGTH)
      }
    }
    void tell({ type: 'progress', tokens, text: shown })
    if (ended) break
  }
  await tell({ type: 'report', report: { ...audit.result(), tokens, parts: await files.flush() } })
  await heard('leave')
  await session.close()
  await broker.close()
})
