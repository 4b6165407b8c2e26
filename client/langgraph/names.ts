/**
 * Where things of a thread are: the topic of a thread, and the names of its context entries. Names that a kind has in common sort
 * together; checkpoints sort from the newest to the oldest, so that the newest is the first of its namespace.
 */

import { uuid5 } from '@langchain/langgraph-checkpoint'
import { LitetopicError } from '../index.ts'

/** Parts of an entry's name beyond this many bytes are replaced by their hash: names are 255 bytes at most. */
const PART_BYTES = 72
const HASHED = '6f1b1f0e-58c1-4f4c-9e0b-6c1d5d0a7a11'

const encoder = new TextEncoder()

/** The topic of a thread: its id, with `~XX` for each byte that names of topics do not have. Throws BAD_NAME. */
export function topicOf(prefix: string, threadId: string): string {
  if (threadId === '') throw new LitetopicError('BAD_NAME', 'a thread_id is not empty')
  const escaped = percent(threadId)
    .replace(/[!~*'()]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
    .replace(/%3A/g, ':')
    .replace(/%40/g, '@')
    .replace(/%/g, '~')
  return `${prefix}/${escaped === '.' || escaped === '..' ? escaped.replace(/\./g, '~2E') : escaped}`
}

/** The thread of a topic below the prefix; null if it is none of ours. */
export function threadOf(prefix: string, topic: string): string | null {
  const escaped = topic.slice(prefix.length + 1)
  try {
    const threadId = decodeURIComponent(escaped.replace(/~/g, '%'))
    return topicOf(prefix, threadId) === topic ? threadId : null
  } catch {
    return null
  }
}

/** What the names of the checkpoints of a namespace begin with, or of all. */
export function checkpointPrefix(ns?: string): string {
  return ns === undefined ? 'checkpoint/' : `checkpoint/${part(ns)}/`
}

/** A checkpoint, without the values of its channels. */
export function checkpointName(ns: string, checkpointId: string): string {
  return checkpointPrefix(ns) + reversed(checkpointId)
}

/** The value that a channel has in a version. */
export function valueName(ns: string, channel: string, version: number | string): string {
  return `value/${part(ns)}/${part(channel)}/${part(String(version))}`
}

/** What tasks have written on top of a checkpoint. */
export function writesName(ns: string, checkpointId: string): string {
  return `writes/${part(ns)}/${part(checkpointId)}`
}

/** What one task has written, if it is too much to lie there. */
export function largeWritesName(ns: string, checkpointId: string, unique: string): string {
  return `${writesName(ns, checkpointId)}/${unique}`
}

/** A piece of an entry that is too large for one. */
export function pieceName(name: string, index: number): string {
  return `piece/${name}/${index}`
}

/** Text that sorts the other way round, by bytes: their complements, and an end that sorts behind every digit. */
function reversed(id: string): string {
  return `${Array.from(encoder.encode(id), (byte) => (255 - byte).toString(16).padStart(2, '0')).join('')}g`
}

/** A part of a name: without slashes and control characters, and not too long. */
function part(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: names must not have them
  const escaped = text.replace(/[%/~\u0000-\u001f\u007f-\u009f]/g, (char) =>
    char === '~' ? '%7E' : encodeURIComponent(char),
  )
  return encoder.encode(escaped).length <= PART_BYTES ? escaped : `~${uuid5(text, HASHED)}`
}

function percent(text: string): string {
  try {
    return encodeURIComponent(text)
  } catch (cause) {
    throw new LitetopicError('BAD_NAME', 'a thread_id is text: it has half a surrogate pair', {}, cause)
  }
}
