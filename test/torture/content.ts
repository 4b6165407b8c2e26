/** What is written in the torture: made so that every record says where it belongs, and no two are alike. */

import { createHash } from 'node:crypto'
import type { SessionRecord } from '../../client/index.ts'
import type { Batch } from './ledger.ts'

/** What messages, context entries and checkpoints hold. */
export interface Marked {
  readonly w: string
  readonly n: number
  readonly b?: Batch
  readonly pad: string
}

/** Token `index` of a stream. Some are large, some are not ASCII. */
export function piece(streamId: string, index: number): string {
  const mark = `${salt(streamId)}${index}`
  if (index % 97 === 50) return `${mark}${'x'.repeat(3000)};`
  if (index % 11 === 0) return `${mark}é😀;`
  return `${mark};`
}

/** The part that it belongs to. */
export function partOf(index: number): string {
  return index % 7 === 3 ? 'reasoning' : 'text'
}

/** How many tokens texts hold, as they were written by `piece`. */
export function tokensIn(texts: Iterable<string>): number {
  let count = 0
  for (const text of texts) for (const letter of text) if (letter === ';') count++
  return count
}

/** Text of both parts after `count` tokens. */
export function textsAfter(streamId: string, count: number): Record<string, string> {
  const texts: Record<string, string> = {}
  for (let i = 0; i < count; i++) texts[partOf(i)] = (texts[partOf(i)] ?? '') + piece(streamId, i)
  return texts
}

/** Are those the texts of the stream after some number of tokens? */
export function isBeginning(streamId: string, texts: Readonly<Record<string, string>>): boolean {
  const expected = textsAfter(streamId, tokensIn(Object.values(texts)))
  return JSON.stringify(sorted(expected)) === JSON.stringify(sorted(texts))
}

/** The number of tokens that a stream of this id has when it is done. */
export function totalOf(streamId: string): number {
  return Number(streamId.slice(streamId.lastIndexOf('-') + 1))
}

export function digest(text: string): string {
  return createHash('sha1').update(text).digest('base64').slice(0, 12)
}

/** Kind and place of a record, and what it says. */
export function whatIs(record: SessionRecord<unknown>): { what: string; content: string } {
  switch (record.kind) {
    case 'token':
      return { what: `token ${record.part} ${record.streamId}`, content: record.text ?? '' }
    case 'stream':
      return { what: `stream ${record.state} ${record.streamId}`, content: '' }
    case 'message':
      if (record.large !== undefined) return { what: 'large message', content: JSON.stringify(record.large) }
      return { what: `message ${record.id ?? ''}`, content: JSON.stringify(record.value) }
    case 'context':
      return { what: `context ${record.op} ${record.name}`, content: JSON.stringify(record.value) }
    case 'checkpoint':
      return { what: `checkpoint ${record.name}`, content: JSON.stringify(record.state) }
  }
}

/** What the record holds of its writer, or null. */
export function marked(record: SessionRecord<unknown>): Marked | null {
  const value =
    record.kind === 'message' || record.kind === 'context'
      ? record.value
      : record.kind === 'checkpoint'
        ? record.state
        : null
  return typeof value === 'object' && value !== null && 'w' in value ? (value as Marked) : null
}

function salt(streamId: string): string {
  return digest(streamId).slice(0, 3).replaceAll(';', '.')
}

function sorted(texts: Readonly<Record<string, string>>): [string, string][] {
  return Object.entries(texts).sort(([a], [b]) => (a < b ? -1 : 1))
}
