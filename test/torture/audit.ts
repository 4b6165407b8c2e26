/** Reads every topic raw from its start and holds it against the ledgers. */

import { type Broker, connect, type SessionRecord } from '../../client/index.ts'
import { checkReader, checkWriters, type Findings, type LogRecord, type TopicLog } from './check.ts'
import { digest, type Marked, marked, whatIs } from './content.ts'
import { type LedgerLine, ledgersOf, readLedger, type TranscriptLine } from './ledger.ts'

export interface Audited {
  /** Records in all topics. */
  readonly records: number
  /** Records that readers were given. */
  readonly read: number
}

export async function audit(
  url: string,
  directory: string,
  topics: readonly string[],
  found: Findings,
): Promise<Audited> {
  const broker = connect(url)
  let records = 0
  let read = 0
  for (const topic of topics) {
    const log = await readTopic(broker, topic)
    records += log.records.length
    const writers = ledgersOf(directory, 'agents', topic)
    const ledgers = writers.map((name) => readLedger<LedgerLine>(directory, 'agents', topic, name))
    checkWriters(topic, log, ledgers, found)
    for (const name of ledgersOf(directory, 'readers', topic)) {
      const transcript = readLedger<TranscriptLine>(directory, 'readers', topic, name)
      read += checkReader(`${name} of ${topic}`, log, transcript, found)
    }
  }
  await broker.close()
  return { records, read }
}

async function readTopic(broker: Broker, topic: string): Promise<TopicLog> {
  const session = await broker.session<unknown>(topic, { create: false, observe: true })
  const { firstOffset, nextOffset } = await session.describe()
  const records: LogRecord[] = []
  for await (const batch of session.batches({ raw: true })) {
    for (const record of batch) {
      if (record.offset === firstOffset + records.length) records.push(await logged(record))
      else throw new Error(`${topic} gave offset ${record.offset}, not ${firstOffset + records.length}`)
    }
    if (firstOffset + records.length >= nextOffset) break
  }
  await session.close()
  return { epoch: session.epoch, firstOffset, records }
}

async function logged(record: SessionRecord<unknown>): Promise<LogRecord> {
  const { what, content } = whatIs(record)
  const base = { what, digest: digest(content) }
  if (record.kind === 'token') {
    return { ...base, streamId: record.streamId, part: record.part, text: content }
  }
  if (record.kind === 'stream') return { ...base, streamId: record.streamId, state: record.state }
  if (record.kind === 'message' && record.large !== undefined) {
    const value = (await record.large.json()) as Marked
    return { ...base, content: digest(JSON.stringify(value)), writer: value.w, n: value.n }
  }
  const mark = marked(record)
  const id = record.kind === 'message' ? record.id : undefined
  return { ...base, id, writer: mark?.w, n: mark?.n }
}
