/** What each index of an epoch says of records, so that it can be compared with them. A new index is one entry here. */

import { unpack } from '../../protocol/index.ts'
import { streamOf } from '../head.ts'
import { MARK_PART, nameInKey, numberInKey, parseContextKey, partNumber, uploadOfPart } from '../keys.ts'
import { INDEX } from '../store.ts'

export interface IndexCheck {
  readonly unit: keyof typeof INDEX
  /** Names the entry for people. */
  label(key: Uint8Array): string
  /** Offset of the one record that the entry is of; null where it is of none, or of several. */
  recordOf(key: Uint8Array, payload: Uint8Array): number | null
  /** Is what was found as good as what the record gives? */
  agrees(expected: Uint8Array, found: Uint8Array): boolean
  /** What cannot be had without it. */
  readonly lost: string
}

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0
const opOf = (payload: Uint8Array): unknown => (unpack(payload) as unknown[])[0]
const offsetIn = (payload: Uint8Array): number => Number(unpack(payload))

export const INDEX_CHECKS: ReadonlyMap<number, IndexCheck> = new Map<number, IndexCheck>([
  [
    INDEX.stream,
    {
      unit: 'stream',
      label: (key) => `ended stream ${nameInKey(key)}`,
      recordOf: (_key, payload) => streamOf(unpack(payload)).lastOffset,
      // Records do not tell which producer wrote them, nor where a stream began that is trimmed by half.
      agrees: (expected, found) => {
        const [a, b] = [streamOf(unpack(expected)), streamOf(unpack(found))]
        return (
          a.streamId === b.streamId && a.state === b.state && a.lastOffset === b.lastOffset && a.detail === b.detail
        )
      },
      lost: 'how the stream ended: a writer would begin it anew',
    },
  ],
  [
    INDEX.recordId,
    {
      unit: 'recordId',
      label: (key) => `record id ${nameInKey(key)}`,
      recordOf: (_key, payload) => offsetIn(payload),
      agrees: same,
      lost: 'that the record is stored: a repeat would be stored again',
    },
  ],
  [
    INDEX.context,
    {
      unit: 'context',
      label: (key) => `context entry ${parseContextKey(key).name}`,
      recordOf: (key) => parseContextKey(key).offset,
      // A salvage that could not read what an append adds to has deleted the entry there.
      agrees: (expected, found) => same(expected, found) || (opOf(expected) === 'append' && opOf(found) === 'delete'),
      lost: 'the value of the entry from there on',
    },
  ],
  [
    INDEX.checkpoint,
    {
      unit: 'checkpoint',
      label: (key) => `checkpoint at offset ${numberInKey(key, 1)}`,
      recordOf: (key) => numberInKey(key, 1),
      agrees: same,
      lost: 'that there is a checkpoint',
    },
  ],
  [
    INDEX.checkpointName,
    {
      unit: 'checkpointName',
      label: (key) => `checkpoint name ${nameInKey(key)}`,
      // Of the newest record of that name; earlier ones agree with it too.
      recordOf: () => null,
      agrees: (expected, found) => offsetIn(found) >= offsetIn(expected),
      lost: 'where the newest checkpoint of that name is',
    },
  ],
  [
    INDEX.part,
    {
      unit: 'part',
      label: (key) => `part of upload ${uploadOfPart(key)}`,
      recordOf: (key, payload) => (partNumber(key) === MARK_PART ? offsetIn(payload) : null),
      agrees: same,
      lost: 'which record the content belongs to',
    },
  ],
])
