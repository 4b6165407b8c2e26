/**
 * Values of a graph as context entries. What the serializer makes of a value stands behind the name of its type: as text if it is
 * JSON, so that it can be read in the log, and else as bytes. What one append does not hold is cut into entries of their own.
 */

import type { SerializerProtocol } from '@langchain/langgraph-checkpoint'
import { type ContextChange, isLitetopicError, LitetopicError, type Session, type Value } from '../index.ts'
import { pieceName } from './names.ts'

/** A value as its serializer has it. */
export type Dumped = readonly [type: string, data: Uint8Array]

/** Of one entry, and of one append: an append holds 256 KiB. */
const PIECE_BYTES = 192 * 1024
const APPEND_BYTES = 224 * 1024
/** What an entry takes beside its value: its name of 255 bytes at most, and the head of a record. */
const ENTRY_OVERHEAD_BYTES = 320

/** A change together with the most that it takes in an append. */
export interface SizedChange {
  readonly change: ContextChange
  readonly bytes: number
}

/** The entries of a value, the one that stands for it last. */
export function changesOf(name: string, [type, data]: Dumped): SizedChange[] {
  if (data.length <= PIECE_BYTES) {
    return [sized({ op: 'set', name, value: type === 'json' ? textOf(data) : bytesOf(type, data) }, data.length)]
  }
  const changes: SizedChange[] = []
  for (let at = 0; at < data.length; at += PIECE_BYTES) {
    const value = data.subarray(at, at + PIECE_BYTES)
    changes.push(sized({ op: 'set', name: pieceName(name, changes.length), value }, value.length))
  }
  return [...changes, sized({ op: 'set', name, value: { type, pieces: changes.length } }, type.length)]
}

/** `bytes` is what its value takes. */
export function sized(change: ContextChange, bytes: number): SizedChange {
  return { change, bytes: bytes + ENTRY_OVERHEAD_BYTES }
}

/** Stores the changes in their order, in as few appends as hold them. What comes last is there only if all else is. */
export async function store(session: Session, changes: readonly SizedChange[]): Promise<void> {
  let gathered: ContextChange[] = []
  let bytes = 0
  for (const next of changes) {
    if (gathered.length > 0 && bytes + next.bytes > APPEND_BYTES) {
      await append(session, gathered)
      gathered = []
      bytes = 0
    }
    gathered.push(next.change)
    bytes += next.bytes
  }
  if (gathered.length > 0) await append(session, gathered)
}

/** The value stored under a name, or null. */
export async function load(
  session: Session,
  serde: SerializerProtocol,
  name: string,
): Promise<{ value: unknown } | null> {
  const entry = await session.context.get(name)
  return entry === undefined ? null : { value: await readEntry(session, serde, name, entry) }
}

/** The value of an entry that has been read. Rejects with BAD_VALUE if it is none of ours, or a piece of it is not there. */
export async function readEntry(
  session: Session,
  serde: SerializerProtocol,
  name: string,
  entry: Value,
): Promise<unknown> {
  if (typeof entry === 'string' && entry.startsWith('json:')) return serde.loadsTyped('json', entry.slice(5))
  if (entry instanceof Uint8Array) {
    const colon = entry.indexOf(58)
    return serde.loadsTyped(new TextDecoder().decode(entry.subarray(0, colon)), entry.subarray(colon + 1))
  }
  if (entry !== null && typeof entry === 'object' && 'pieces' in entry) {
    const count = Number(entry.pieces)
    const names = Array.from({ length: count }, (_, i) => pieceName(name, i))
    const pieces = await Promise.all(names.map((piece) => session.context.get(piece)))
    return serde.loadsTyped(String(entry.type), joined(session, name, pieces))
  }
  throw notOurs(session, name)
}

/** Waits for room instead of being refused for lack of it. */
async function append(session: Session, changes: readonly ContextChange[]): Promise<void> {
  for (;;) {
    try {
      await session.context.apply(changes)
      return
    } catch (error) {
      if (!isLitetopicError(error, 'BUFFER_FULL')) throw error
    }
    await session.flush()
  }
}

function textOf(data: Uint8Array): string {
  return `json:${new TextDecoder().decode(data)}`
}

function bytesOf(type: string, data: Uint8Array): Uint8Array {
  if (type.includes(':')) throw new LitetopicError('BAD_VALUE', `a serializer's type has no colon: ${type}`)
  const head = new TextEncoder().encode(`${type}:`)
  const whole = new Uint8Array(head.length + data.length)
  whole.set(head)
  whole.set(data, head.length)
  return whole
}

function joined(session: Session, name: string, pieces: readonly (Value | undefined)[]): Uint8Array {
  const parts = pieces.map((piece) => {
    if (piece instanceof Uint8Array) return piece
    throw notOurs(session, name)
  })
  const whole = new Uint8Array(parts.reduce((size, piece) => size + piece.length, 0))
  let at = 0
  for (const piece of parts) {
    whole.set(piece, at)
    at += piece.length
  }
  return whole
}

function notOurs({ name: topic }: Session, name: string): LitetopicError {
  return new LitetopicError('BAD_VALUE', `context entry ${name} of topic ${topic} was not written by LitetopicSaver`)
}
