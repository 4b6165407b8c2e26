/** FORMAT.md and the code say the same: formats, index bytes, operation types, sizes and orders. */

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { ByteReader, LIMITS } from '../../protocol/index.ts'
import { KEYS_PER_STEP } from '../../storage/garbage.ts'
import { FLAG, HEAD_FORMAT } from '../../storage/head.ts'
import { chunkKey, contextKey, headKey, timerKey } from '../../storage/keys.ts'
import { MemoryDisk, openMemoryStore } from '../../storage/memory/memory-store.ts'
import { APPEND_EFFECTS, ENTRY_FORMAT, ENTRY_HEADER_BYTES, OPERATION } from '../../storage/operations.ts'
import { INDEX } from '../../storage/store.ts'
import { INFO_FORMAT } from '../../storage/store-info.ts'
import { EPOCHS_PER_COMMIT } from '../../storage/topic-state.ts'
import { Rig, TIME_MS } from './shard-rig.ts'

const document = readFileSync(new URL('../../storage/FORMAT.md', import.meta.url), 'utf8')

/** Text of one section, its line breaks as spaces. */
function section(title: string): string {
  const [, rest] = document.split(`\n## ${title}\n`)
  expect(rest, `a section ${title}`).toBeDefined()
  return (rest ?? '').split('\n## ')[0]?.replaceAll('\n', ' ') ?? ''
}

/** Rows of the tables of a section, without heads. */
function rows(title: string): string[][] {
  const lines = (document.split(`\n## ${title}\n`)[1] ?? '').split('\n## ')[0]?.split('\n') ?? []
  const cells = lines.filter((line) => line.startsWith('|')).map((line) => line.split('|').slice(1, -1))
  return cells.map((row) => row.map((cell) => cell.trim())).filter((row) => !/^-+$/.test(row[0] ?? ''))
}

const decimal = (value: number): string => value.toLocaleString('en-US')

test('every index byte is listed with its name, and every index has its key and value', () => {
  const expected = Object.entries(INDEX).map(([name, byte]) => [`\`${byte.toString(16).padStart(2, '0')}\``, name])
  expect(rows('Table').slice(1)).toEqual(expected)
  expect(
    rows('Keys')
      .slice(1)
      .map(([name]) => name),
  ).toEqual(Object.keys(INDEX))
})

test('every operation is listed with its type', () => {
  const listed = rows('Journal entries').filter(([type]) => /^\d+$/.test(type ?? '') && type !== '0')
  const expected = Object.entries(OPERATION).map(([name, type]) => [`${type}`, name])
  expect([[`${OPERATION.append}`, 'append'], ...listed.map((row) => row.slice(0, 2))]).toEqual(expected)
  expect(section('Journal entries')).toContain(`An append (type ${OPERATION.append})`)
  expect(APPEND_EFFECTS).toBe(1)
  expect(section('Journal entries')).toContain('Bit 0 of `flags`')
})

test('formats, sizes and limits are those of the code', () => {
  expect(section('Journal entries')).toContain(`| format: ${ENTRY_FORMAT} `)
  expect(section('Journal entries')).toContain(`| ${ENTRY_HEADER_BYTES}–   | operations`)
  expect(section('Heads')).toContain(`| format: ${HEAD_FORMAT} `)
  expect(section('Heads')).toContain(
    `flags: ${FLAG.closed} closed, ${FLAG.tableUsed} the epoch has keys beside the head, ${FLAG.openStreams} it has open streams`,
  )
  expect(section('Keys')).toContain(`format (${INFO_FORMAT}), store incarnation`)
  expect(section('What lies in the journal and the table')).toContain(`times ${decimal(EPOCHS_PER_COMMIT)},`)
  expect(EPOCHS_PER_COMMIT).toBe(LIMITS.createsPerCommit)
  expect(section('Heads')).toContain(`at most ${LIMITS.inlineTailBytes} bytes`)
  expect(section('Heads')).toContain(`newest ${LIMITS.appendsInFlight} sequences`)
  expect(section('Chunks')).toContain(`about ${LIMITS.chunkBytes / 1024} KiB`)
  const flushing = section('Flushing')
  expect(flushing).toContain(`beyond ${LIMITS.inlineTailBytes} bytes`)
  expect(flushing).toContain(`its tail reaches ${LIMITS.chunkBytes / 1024} KiB`)
  expect(flushing).toContain(
    `${LIMITS.journalBytes / 1024 ** 2} MiB or ${decimal(LIMITS.journalOperations)} operations`,
  )
  expect(flushing).toContain(`for ${LIMITS.quietMs / 1000} s`)
  expect(section('Deletion and garbage')).toContain(`${decimal(KEYS_PER_STEP)} at a time`)
})

test('keys are laid out as the document says', () => {
  const hex = (key: Uint8Array): string => Buffer.from(key).toString('hex')
  expect(hex(headKey('ab'))).toBe('106162')
  expect(hex(chunkKey(1, 2 ** 32 + 5))).toBe('20000000000000010000010000000' + '5')
  expect(hex(contextKey(2, 'n', 3))).toBe(`23${'00000000000002'}6e00${'00000000000003'}`)
  expect(hex(timerKey(2 ** 53 - 1, 1))).toBe(`31${'1fffffffffffff'}${'00000000000001'}`)
})

test('a journal entry and a head hold what the document says, at the places that it says', async () => {
  const disk = new MemoryDisk()
  const rig = await Rig.open(await openMemoryStore(disk))
  const state = await rig.create('t')
  state.dueMs = 77
  await rig.append(state, [{ kind: 'message', text: 'hi' }])
  const entry = Buffer.from(disk.entries[1] as Uint8Array)
  expect([entry[0], entry.readUInt32BE(8), entry.readUInt32BE(12), entry.readUInt32BE(16)]).toEqual([1, 0, 2, 1])
  // Type, epoch 4096 as a varint, no producer, sequence 0, no flags, and a raw batch at offset 0.
  expect(entry.subarray(24, 32).toString('hex')).toBe('0180200000000100')
  await rig.flush(state)
  const sealed = (await rig.shard.store.table.get(headKey('t'))) as Uint8Array
  const reader = new ByteReader(sealed, 4)
  const fields = new Map<string, number>()
  for (const [as, field = ''] of rows('Heads').slice(1)) {
    if (as === 'u8' || as === 'varint')
      fields.set(field.split(/:| of /)[0] ?? '', as === 'u8' ? reader.u8() : reader.varint())
  }
  expect(Object.fromEntries(fields)).toEqual({
    format: HEAD_FORMAT,
    flags: 0,
    epoch: state.epoch,
    commit: 3,
    operations: 0,
    createdMs: TIME_MS,
    lastAppendMs: TIME_MS,
    dueMs: 77,
    firstOffset: 0,
    clearedTo: 0,
    chunkedTo: 0,
    nextOffset: 1,
    bytes: state.bytes,
    fence: 0,
  })
  expect(reader.end - reader.at, 'the inline tail is the rest').toBe(state.bytes)
  expect(sealed.length).toBeLessThan(512)
})
