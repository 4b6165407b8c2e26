/** A process of readers. Each goes on at the cursor of its transcript, also after a SIGKILL, and writes down what it is given. */

import { type Broker, connect, isLitetopicError, type SessionRecord } from '../../client/index.ts'
import { formatCursor, parseCursor } from '../../protocol/index.ts'
import { Random, seedOf } from '../random.ts'
import { digest, whatIs } from './content.ts'
import { LedgerFile, readLedger, type SeenRecord, type TranscriptLine } from './ledger.ts'
import { pause, type ReaderRole, type ReadersRole, told } from './messages.ts'

const { role, tell } = told<ReadersRole>()

let read = 0
const report = setInterval(() => tell({ type: 'progress', records: read }), 500)
const broker = connect(role.url, { reconnect: { minMs: 30, maxMs: 500 } })
await Promise.all(role.readers.map((reader) => follow(broker, reader)))
await broker.close()
clearInterval(report)
process.exit(0)

async function follow(broker: Broker, { name, topic, raw }: ReaderRole): Promise<void> {
  const random = new Random(seedOf(role.seed, name))
  // Some read with a small credit, some are slow: they fall back to storage again and again.
  const creditBytes = random.pick([2_000, 50_000, 1_000_000])
  const slowMs = role.drain ? 0 : random.pick([0, 0, 100, 400])
  const last = readLedger<TranscriptLine>(role.directory, 'readers', topic, name).at(-1)
  const transcript = new LedgerFile<TranscriptLine>(role.directory, 'readers', topic, name)
  const session = await broker.session<unknown>(topic, { lingerMs: 'forever' })
  const { incarnation, next: end } = parseCursor(session.cursor)
  let next = last?.[1] ?? 0
  const isDone = (): boolean => role.drain && next >= end
  while (!isDone()) {
    const from = { cursor: formatCursor({ incarnation, epoch: session.epoch, next }) }
    const reader = session.batches({ from, raw, creditBytes })
    try {
      for await (const records of reader) {
        next = parseCursor(String(reader.cursor)).next
        transcript.add([session.epoch, next, records.map(seen)])
        read += records.length
        if (isDone()) break
        if (slowMs > 0) await pause(random.between(0, slowMs))
      }
    } catch (error) {
      if (!isLitetopicError(error, 'TRIMMED')) throw error
      next = Number(error.details.firstOffset)
      transcript.add([session.epoch, next, [], true])
    }
  }
  await session.close()
}

function seen(record: SessionRecord<unknown>): SeenRecord {
  const { what, content } = whatIs(record)
  const count = record.kind === 'token' ? record.count : 1
  return [record.offset, record.lastOffset, count, what, digest(content)]
}
