/**
 * Fuzzes what reads untrusted bytes in one process: the codec with frames, entries, records and batches, and the decoders of
 * storage with what a disk may have made of them. Whatever is thrown is a LitetopicError of the codes expected.
 */

import {
  BatchReader,
  ByteReader,
  decodeDown,
  decodeUp,
  type ErrorCode,
  encodeFrame,
  isLitetopicError,
  newAppendEntry,
  RecordWalker,
  readAppendEntry,
  readRun,
  UP,
} from '../../protocol/index.ts'
import { decodeHead, encodeHead } from '../../storage/head.ts'
import { chunkKey, headKey } from '../../storage/keys.ts'
import { checkEntry, ENTRY_HEADER_BYTES, writeEntryHeader } from '../../storage/operations.ts'
import { seal, unseal } from '../../storage/seal.ts'
import { TopicState } from '../../storage/topic-state.ts'
import type { Random } from '../random.ts'
import { anyFrame, someRecords } from './frames.ts'
import { mutate, noise } from './mutate.ts'

/** How often each came: a code, or `fine`. */
export type Outcomes = Map<string, number>

const REFUSED: readonly ErrorCode[] = ['BAD_FRAME', 'UNKNOWN_FRAME', 'FRAME_TOO_LARGE', 'LIMIT_EXCEEDED', 'BAD_VALUE']

/** Decodes as many frames as are given, most of them mutated. Throws on the first that does what it must not. */
export function fuzzCodec(random: Random, frames: number): Outcomes {
  const outcomes: Outcomes = new Map()
  const { stackTraceLimit } = Error
  // Most of the time would go into the stacks of refusals.
  Error.stackTraceLimit = 0
  for (let i = 0; i < frames; i++) {
    const kind = random.next()
    const frame = anyFrame(random)
    const bytes = kind < 0.1 ? frame : kind < 0.95 ? mutate(frame, random) : noise(random)
    expectRefusal(outcomes, bytes, REFUSED, () => decodeAll(Buffer.from(bytes)))
  }
  Error.stackTraceLimit = stackTraceLimit
  return outcomes
}

/** The same with a journal entry, a head and a chunk: what is not as it was written is STORE_CORRUPT, or found to be the same. */
export function fuzzStored(random: Random, units: number): Outcomes {
  const outcomes: Outcomes = new Map()
  for (let i = 0; i < units; i++) {
    const { bytes: payload } = someRecords(random)
    for (const { sound, read } of [entry(payload), chunk(payload), head(random)]) {
      const bytes = mutate(sound, random)
      expectRefusal(outcomes, bytes, ['STORE_CORRUPT'], () => {
        read(bytes)
        if (!Buffer.from(bytes).equals(sound)) throw new Error('other bytes than were written pass as sound')
      })
    }
  }
  return outcomes
}

interface Stored {
  readonly sound: Uint8Array
  read(bytes: Uint8Array): unknown
}

function entry(payload: Uint8Array): Stored {
  const sound = Buffer.alloc(ENTRY_HEADER_BYTES + payload.length)
  sound.set(payload, ENTRY_HEADER_BYTES)
  writeEntryHeader(sound, 0, sound.length, 17, 1)
  return { sound, read: (bytes) => checkEntry(bytes, 17) }
}

function chunk(payload: Uint8Array): Stored {
  const key = chunkKey(4096, 9)
  return { sound: seal(key, payload), read: (bytes) => unseal(key, bytes, 'a chunk') }
}

function head(random: Random): Stored {
  const state = new TopicState('fuzz', random.between(1, 10_000), 1, null)
  const asOf = { commit: 1, operations: 1 }
  const plan = { asOf, chunkedTo: 0, inline: null, tableUsed: false }
  return { sound: encodeHead(headKey('fuzz'), state, plan), read: (bytes) => decodeHead('fuzz', bytes) }
}

/** All that a broker or a client decodes of a message. */
function decodeAll(bytes: Uint8Array): void {
  for (const read of [readRecords, readBatches]) tolerate(() => read(bytes))
  tolerate(() => decodeDown(bytes))
  for (const frame of decodeUp(bytes)) {
    if (frame[0] === UP.append) readEntries(frame[1])
    // What was understood is understood again when it is sent on.
    const again = decodeUp(encodeFrame(frame))
    if (JSON.stringify(again) !== JSON.stringify([frame])) throw new Error('a frame reads otherwise when sent again')
  }
}

function readEntries(bytes: Uint8Array): void {
  const reader = new ByteReader(bytes)
  const entry = newAppendEntry()
  while (!reader.done) {
    readAppendEntry(reader, entry)
    readRecords(bytes.subarray(entry.from, entry.to))
  }
}

function readRecords(bytes: Uint8Array): void {
  const walker = new RecordWalker(new ByteReader(bytes))
  while (walker.next()) {
    walker.name()
    walker.part()
    walker.extras()
    walker.recordData()
  }
}

function readBatches(bytes: Uint8Array): void {
  const reader = new ByteReader(bytes)
  const batch = new BatchReader(reader)
  while (batch.advance()) {
    const content = new ByteReader(bytes, batch.contentFrom, batch.end)
    while (!content.done) readRun(content, batch.base)
  }
}

function tolerate(act: () => void): void {
  try {
    act()
  } catch (error) {
    if (!isLitetopicError(error, ...REFUSED)) throw error
  }
}

function expectRefusal(outcomes: Outcomes, bytes: Uint8Array, codes: readonly ErrorCode[], act: () => void): void {
  let outcome = 'fine'
  try {
    act()
  } catch (error) {
    if (!isLitetopicError(error, ...codes)) {
      throw new Error(`${Buffer.from(bytes).toString('hex')} is not refused as it should be: ${error}`, {
        cause: error,
      })
    }
    outcome = error.code
  }
  outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
}
