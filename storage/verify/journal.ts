/** Checks the journal entry by entry, and reads it as a start would, up to the first that is damaged. */

import { BatchReader, ByteReader, RecordWalker } from '../../protocol/index.ts'
import { OperationNotes } from '../operation-notes.ts'
import { checkEntry, ENTRY_HEADER_BYTES, OPERATION, readOperation } from '../operations.ts'
import { replayEntry, type Unloaded } from '../recovery.ts'
import type { Slabs } from '../slabs.ts'
import type { Journal } from '../store.ts'
import { type Findings, must, reasonOf } from './damage.ts'

/** Topics that the sound part of the journal names, by epoch. */
export async function readJournal(journal: Journal, slabs: Slabs, findings: Findings): Promise<Map<number, Unloaded>> {
  const byEpoch = new Map<number, Unloaded>()
  const notes = new OperationNotes()
  let next = 0
  try {
    for await (const entry of journal.entries()) {
      next = entry.number
      checkOperations(entry.bytes, entry.number)
      replayEntry(slabs, entry, byEpoch, notes)
      findings.commits++
      next++
    }
  } catch (error) {
    const what = reasonOf(error)
    const lost = `what was committed from number ${next || 'the first'} to ${journal.last} and is not in the table`
    findings.add({ unit: 'journal', topic: null, offsets: null, what, lost })
  }
  return byEpoch
}

/** Reads every operation of an entry, and every record of its batches. Throws what is wrong. */
function checkOperations(bytes: Uint8Array, number: number): void {
  const count = checkEntry(bytes, number)
  const reader = new ByteReader(bytes, ENTRY_HEADER_BYTES)
  let found = 0
  for (; !reader.done; found++) {
    const operation = readOperation(reader)
    if (operation.type !== OPERATION.append) continue
    const batch = new BatchReader(new ByteReader(bytes, operation.batchAt))
    must(batch.advance(), `entry ${number} has an append without a batch`)
    checkRecords(batch)
  }
  must(found === count, `entry ${number} has ${found} operations where it says ${count}`)
}

/** Throws unless the batch has as many sound records as it says. */
export function checkRecords(batch: BatchReader): void {
  const walker = new RecordWalker(batch.content())
  let count = 0
  for (; walker.next(); count++) walker.checkData()
  must(count === batch.count, `a batch at offset ${batch.base} has ${count} records where it says ${batch.count}`)
}
