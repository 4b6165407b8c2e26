/**
 * The input of a demo run, on disk as tokens: the agent publishes from it, also the agent that takes over, and what the
 * reader has received is compared with it. Nothing here holds the input in memory.
 */

import { once } from 'node:events'
import { createReadStream, createWriteStream } from 'node:fs'
import { appendFile, mkdir, open } from 'node:fs/promises'
import { join } from 'node:path'
import { finished } from 'node:stream/promises'
import { LitetopicError } from '../../protocol/index.ts'
import { splitLines } from './lines.ts'
import type { Token } from './tokens.ts'

/** Text gathered before it is written, in UTF-16 units. */
const BUFFER_LENGTH = 256 * 1024
const COMPARE_BYTES = 256 * 1024

/** Where the text of one part lies, and how much of it there is. */
export interface PartFile {
  readonly path: string
  readonly bytes: number
}

/** The text of a reply by part, one file each in `directory`. */
export class PartFiles {
  readonly #directory: string
  readonly #parts = new Map<string, { path: string; bytes: number; pending: string }>()
  #pending = 0

  constructor(directory: string) {
    this.#directory = directory
  }

  async add(token: Token): Promise<void> {
    let part = this.#parts.get(token.part)
    if (part === undefined) {
      part = { path: join(this.#directory, `part-${this.#parts.size}.txt`), bytes: 0, pending: '' }
      this.#parts.set(token.part, part)
    }
    part.pending += token.text
    this.#pending += token.text.length
    if (this.#pending > BUFFER_LENGTH) await this.flush()
  }

  /** Writes what is pending and says what there is, parts in order of appearance. */
  async flush(): Promise<Record<string, PartFile>> {
    await mkdir(this.#directory, { recursive: true })
    for (const part of this.#parts.values()) {
      const bytes = Buffer.from(part.pending)
      part.pending = ''
      part.bytes += bytes.length
      await appendFile(part.path, bytes)
    }
    this.#pending = 0
    return Object.fromEntries([...this.#parts].map(([part, { path, bytes }]) => [part, { path, bytes }]))
  }
}

/** The whole input on disk. */
export interface Spool {
  readonly tokensPath: string
  readonly tokens: number
  readonly bytes: number
  readonly parts: Readonly<Record<string, PartFile>>
}

/** Writes the tokens, and the text of each part, to files in `directory`. */
export async function spoolTokens(tokens: AsyncIterable<Token>, directory: string): Promise<Spool> {
  await mkdir(directory, { recursive: true })
  const tokensPath = join(directory, 'tokens.jsonl')
  const file = createWriteStream(tokensPath)
  const parts = new PartFiles(join(directory, 'sent'))
  let count = 0
  for await (const token of tokens) {
    count++
    if (!file.write(`${JSON.stringify([token.part, token.text])}\n`)) {
      await once(file, 'drain')
    }
    await parts.add(token)
  }
  await finished(file.end())
  const written = await parts.flush()
  const bytes = Object.values(written).reduce((sum, part) => sum + part.bytes, 0)
  return { tokensPath, tokens: count, bytes, parts: written }
}

/** The tokens of a spool from the `skip`-th on. Throws BAD_VALUE for a file that `spoolTokens` did not write. */
export async function* readSpool(tokensPath: string, skip = 0): AsyncGenerator<Token> {
  const lines = splitLines(createReadStream(tokensPath, { encoding: 'utf8' }))
  for await (const line of lines) {
    if (line.number <= skip) continue
    const entry: unknown = JSON.parse(line.text)
    if (!Array.isArray(entry)) throw new LitetopicError('BAD_VALUE', `line ${line.number} of the spool is no token`)
    yield { part: String(entry[0]), text: String(entry[1]) }
  }
}

/** Where two parts first differ, as a byte offset, or undefined if they are the same. A missing part is an empty one. */
export async function firstDifference(one?: PartFile, other?: PartFile): Promise<number | undefined> {
  const common = Math.min(one?.bytes ?? 0, other?.bytes ?? 0)
  if (one !== undefined && other !== undefined) {
    const found = await compareFiles(one.path, other.path, common)
    if (found !== undefined) return found
  }
  return (one?.bytes ?? 0) === (other?.bytes ?? 0) ? undefined : common
}

async function compareFiles(onePath: string, otherPath: string, bytes: number): Promise<number | undefined> {
  await using one = await open(onePath)
  await using other = await open(otherPath)
  const left = Buffer.alloc(COMPARE_BYTES)
  const right = Buffer.alloc(COMPARE_BYTES)
  for (let at = 0; at < bytes; at += COMPARE_BYTES) {
    const size = Math.min(COMPARE_BYTES, bytes - at)
    await one.read(left, 0, size, at)
    await other.read(right, 0, size, at)
    if (left.compare(right, 0, size, 0, size) === 0) continue
    for (let i = 0; i < size; i++) if (left[i] !== right[i]) return at + i
  }
  return undefined
}
