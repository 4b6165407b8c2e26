/** The checker of the torture finds what it is there for: each fault is planted in a log, or in what a reader was given. */

import { appendFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { type Count, checkReader, checkWriters, Findings, type LogRecord } from './check.ts'
import { digest, isBeginning, partOf, piece, textsAfter, tokensIn } from './content.ts'
import { LedgerFile, type LedgerLine, readLedger, type TranscriptLine } from './ledger.ts'

const STREAM = 's-a0.0-1-5'

const message = (n: number, id?: string): LogRecord => {
  return { what: `message ${id ?? ''}`, digest: `digest ${n}`, writer: 'a0.0', n, id }
}
const token = (index: number, text = piece(STREAM, index)): LogRecord => {
  const part = partOf(index)
  return { what: `token ${part} ${STREAM}`, digest: digest(text), streamId: STREAM, part, text }
}
const stream = (state: string): LogRecord => {
  return { what: `stream ${state} ${STREAM}`, digest: digest(''), streamId: STREAM, state }
}

/** A log in which all is well, and what its writer wrote down. */
const SOUND: readonly LogRecord[] = [
  message(0),
  message(1, 'id-1'),
  stream('open'),
  token(0),
  message(2),
  message(3),
  token(1),
  stream('lost'),
  stream('resumed'),
  token(2),
  stream('done'),
  message(4),
]
const LEDGER: readonly LedgerLine[] = [
  ['intent', 'a0.0', 0, 'digest 0', null, null],
  ['intent', 'a0.0', 1, 'digest 1', 'id-1', null],
  ['stored', 'a0.0', 0, 7, 0],
  ['stored', 'a0.0', 1, 7, 1],
  ['stream', STREAM],
  ['intent', 'a0.0', 2, 'digest 2', null, [2, 2]],
  ['intent', 'a0.0', 3, 'digest 3', null, [2, 2]],
  ['stored', 'a0.0', 2, 7, 4],
  ['stored', 'a0.0', 3, 7, 5],
  ['tokens', STREAM, 2],
  ['end', STREAM, 'done', 3, 10],
  ['intent', 'a0.0', 4, 'digest 4', null, null],
  ['intent', 'a0.0', 5, 'digest 5', null, null],
]

function check(records: readonly LogRecord[], ledger: readonly LedgerLine[] = LEDGER, epoch = 7): Findings {
  const found = new Findings()
  checkWriters('t', { epoch, firstOffset: 0, records }, [ledger], found)
  return found
}

/** The counts that are not 0, but for what was acknowledged. */
function faults({ counts }: Findings): Partial<Record<Count, number>> {
  const { acknowledged: _, ...rest } = counts
  return Object.fromEntries(Object.entries(rest).filter(([, count]) => count > 0))
}

/** The log with something else in the place of `count` records. */
const without = (at: number, count: number, ...instead: LogRecord[]): LogRecord[] =>
  SOUND.toSpliced(at, count, ...instead)

describe('the checker', () => {
  it('finds nothing in a sound log, whether what was not acknowledged is there or not', () => {
    expect(String(check(SOUND))).toBe('7 acknowledged, 0 lost, 0 repeated, 0 reordered, 0 invented')
    expect(faults(check(SOUND.slice(0, -1)))).toEqual({})
    expect(faults(check([...SOUND, message(5)]))).toEqual({})
  })

  it('finds what was acknowledged and is not there, or elsewhere, or in another incarnation', () => {
    expect(check(without(0, 1)).counts.lost).toBeGreaterThan(0)
    expect(faults(check(without(0, 2, message(1, 'id-1'), message(0)))).lost).toBe(2)
    expect(faults(check(SOUND, LEDGER, 8)).lost).toBe(4)
    expect(faults(check(SOUND.slice(0, 10))).lost).toBe(1)
    expect(
      faults(check(without(6, 4, stream('lost'), stream('resumed'), message(5), message(4)))).lost,
    ).toBeGreaterThan(0)
  })

  it('finds half of an append', () => {
    expect(faults(check(SOUND, [...LEDGER, ['intent', 'a0.0', 4, 'digest 4', null, [4, 2]]]))).toEqual({ lost: 1 })
  })

  it('finds records, ids, tokens, openings and ends that are there twice', () => {
    expect(faults(check([...SOUND, message(4)]))).toEqual({ repeated: 1 })
    const again: LedgerLine = ['intent', 'a0.0', 6, 'digest 6', 'id-1', null]
    expect(faults(check([...SOUND, message(6, 'id-1')], [...LEDGER, again]))).toEqual({ repeated: 1 })
    expect(faults(check(without(7, 1, token(1)))).repeated).toBe(1)
    expect(faults(check(without(7, 1, stream('open')))).repeated).toBe(1)
    expect(faults(check([...SOUND, stream('stopped')]))).toEqual({ repeated: 1 })
    expect(faults(check([...SOUND, token(3)]))).toEqual({ repeated: 1 })
  })

  it('finds records of one writer, and tokens of one stream, out of order', () => {
    expect(faults(check([...SOUND.slice(0, 11), message(5), message(4)]))).toEqual({ reordered: 1 })
    expect(faults(check(without(6, 1, token(2)))).reordered).toBe(1)
  })

  it('finds what nobody sent', () => {
    expect(faults(check([...SOUND, message(9)]))).toEqual({ invented: 1 })
    expect(faults(check([...SOUND, { ...message(5), digest: 'another' }]))).toEqual({ invented: 1 })
    expect(faults(check(without(6, 1, token(1, 'what no model said')))).invented).toBe(1)
    expect(faults(check([...SOUND, { ...stream('open'), streamId: 'another' }]))).toEqual({ invented: 1 })
    expect(faults(check(without(8, 2, token(2)))).invented).toBe(1)
  })

  it('takes over what an agent found wrong', () => {
    expect(faults(check(SOUND, [...LEDGER, ['wrong', 'it hangs']]))).toEqual({ wrong: 1 })
  })

  it('excuses what was trimmed, and nothing above', () => {
    const found = new Findings()
    const log = { epoch: 7, firstOffset: 4, records: SOUND.slice(4) }
    checkWriters('t', log, [[...LEDGER, ['trim', 4]]], found)
    expect(faults(found)).toEqual({})
    checkWriters('t', { ...log, firstOffset: 10, records: SOUND.slice(10) }, [[...LEDGER, ['trim', 10]]], found)
    checkWriters(
      't',
      { ...log, firstOffset: 10, records: [stream('stopped')] },
      [[...LEDGER.slice(0, 10), ['trim', 10]]],
      found,
    )
    expect(faults(found)).toEqual({})
    checkWriters('t', log, [[...LEDGER, ['trim', 3]]], found)
    expect(found.counts.lost).toBeGreaterThan(0)
  })
})

describe('the checker of readers', () => {
  const log = { epoch: 7, firstOffset: 0, records: SOUND }
  const one = (offset: number): TranscriptLine[2][number] => {
    const { what, digest } = SOUND[offset] as LogRecord
    return [offset, offset, 1, what, digest]
  }
  const run: TranscriptLine[2][number] = [3, 6, 2, `token text ${STREAM}`, digest(piece(STREAM, 0) + piece(STREAM, 1))]
  const read = (...lines: TranscriptLine[]): Partial<Record<Count, number>> => {
    const found = new Findings()
    checkReader('r', log, lines, found)
    return faults(found)
  }

  it('finds nothing when each record came once, singly or in runs', () => {
    expect(read([7, 2, [one(0), one(1)]], [7, 4, [one(2), one(3)]])).toEqual({})
    expect(read([7, 3, [one(0), one(1), one(2)]], [7, 7, [run, one(4), one(5)]])).toEqual({})
  })

  it('excuses what was trimmed since, also from the middle of a run', () => {
    const found = new Findings()
    const lines: TranscriptLine[] = [
      [7, 3, [one(0), one(1), one(2)]],
      [7, 7, [run, one(4), one(5)]],
    ]
    checkReader('r', { ...log, firstOffset: 4, records: SOUND.slice(4) }, lines, found)
    expect(faults(found)).toEqual({})
  })

  it('finds what is missing, comes again, comes late or is something else', () => {
    expect(read([7, 3, [one(0), one(2)]])).toEqual({ lost: 1 })
    expect(read([7, 2, [one(0), one(1)]], [7, 3, [one(1), one(2)]]).repeated).toBeGreaterThan(0)
    expect(read([7, 2, [one(1), one(0)]])).toEqual({ reordered: 1 })
    expect(read([7, 1, [[0, 0, 1, 'message ', 'another']]])).toEqual({ invented: 1 })
    expect(read([7, 3, [one(0), one(1), one(2)]], [7, 7, [[3, 6, 1, run[3], run[4]], one(4), one(5)]])).toEqual({
      invented: 1,
    })
    expect(read([8, 1, [one(0)]])).toEqual({ lost: 1 })
  })
})

describe('what the torture writes', () => {
  it('is recognised as the beginning of its stream, and nothing else is', () => {
    const texts = textsAfter(STREAM, 60)
    expect(tokensIn(Object.values(texts))).toBe(60)
    expect(isBeginning(STREAM, texts)).toBe(true)
    expect(isBeginning('another-1', texts)).toBe(false)
    expect(isBeginning(STREAM, { ...texts, text: `${texts.text}${piece(STREAM, 59)}` })).toBe(false)
  })
})

describe('a ledger', () => {
  let directory = ''
  afterEach(() => rmSync(directory, { recursive: true, force: true }))

  it('loses at most the line that a kill has cut', () => {
    directory = mkdtempSync(join(tmpdir(), 'litetopic-ledger-'))
    const first = new LedgerFile<unknown>(directory, 'agents', 'a/b', 'x')
    first.add(['stream', 'one'], ['stream', 'two'])
    appendFileSync(join(directory, 'agents', 'a_b', 'x'), '["stream","thr')
    first.close()
    const second = new LedgerFile<unknown>(directory, 'agents', 'a/b', 'x')
    second.add(['stream', 'four'])
    second.close()
    const lines = readLedger(directory, 'agents', 'a/b', 'x')
    expect(lines).toEqual([
      ['stream', 'one'],
      ['stream', 'two'],
      ['stream', 'four'],
    ])
  })
})
