/**
 * The file with a broker's API keys, by default `access.json` in its data directory: of each key its name, its grants and its hash, and
 * the secret that tokens are signed with. It is replaced as a whole, and nobody but its owner may read it.
 */

import { createHash, randomBytes } from 'node:crypto'
import { mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { checkId, isLitetopicError, LIMITS, LitetopicError } from '../../protocol/index.ts'
import { type GrantTable, grantsOf } from './rights.ts'

export const ACCESS_FILE = 'access.json'

const VERSION = 1
const SECRET_BYTES = 32
const ID_BYTES = 6
const NAME = /^[A-Za-z0-9._~:@-]{1,64}$/
const API_KEY = /^ltk_([0-9a-f]{12})_[A-Za-z0-9_-]{43}$/

export interface StoredKey {
  /** Of the key, and in it. */
  readonly id: string
  /** Of the principal. */
  readonly name: string
  /** Of the key: 256 random bits need no slower hash. */
  readonly sha256: string
  readonly grants: GrantTable
  readonly createdMs: number
}

export interface AccessFile {
  /** In base64url. */
  readonly tokenSecret: string
  readonly keys: readonly StoredKey[]
}

/** What the file says; null if there is none. Rejects with BAD_REQUEST, in one line that says what is wrong and how to mend it. */
export async function readAccessFile(path: string): Promise<AccessFile | null> {
  try {
    const { mode } = await stat(path)
    if (process.platform !== 'win32' && (mode & 0o077) !== 0) throw wrong(path, `others may read it: chmod 600 ${path}`)
    return parse(path, await readFile(path, 'utf8'))
  } catch (error) {
    if (isLitetopicError(error)) throw error
    const { code } = error as NodeJS.ErrnoException
    // What else is wrong with the directory is said by who opens it.
    if (code === 'ENOENT' || code === 'ENOTDIR') return null
    throw wrong(path, `it cannot be read (${code}): let the user that runs the broker read it`, error)
  }
}

/**
 * Replaces the file by what `change` makes of it, or of a new one. Rejects with BAD_REQUEST if it is not as it must be, or while
 * somebody else changes it.
 */
export async function changeAccessFile(path: string, change: (file: AccessFile) => AccessFile): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  const draft = `${path}.new`
  const handle = await open(draft, 'wx', 0o600).catch((error: NodeJS.ErrnoException) => {
    const advice = error.code === 'EEXIST' ? `somebody is changing it: if nobody is, remove ${draft}` : `${error.code}`
    throw wrong(path, advice, error)
  })
  try {
    const present = (await readAccessFile(path)) ?? {
      tokenSecret: randomBytes(SECRET_BYTES).toString('base64url'),
      keys: [],
    }
    await handle.writeFile(`${JSON.stringify({ version: VERSION, ...change(present) }, null, 2)}\n`)
    await handle.sync()
    await rename(draft, path)
  } catch (error) {
    await rm(draft, { force: true })
    throw error
  } finally {
    await handle.close()
  }
}

/** A new key: its text, which is told once, and what is stored of it. Throws BAD_REQUEST or BAD_NAME. */
export function newKey(name: string, grants: GrantTable, createdMs: number): { key: string; stored: StoredKey } {
  checkKeyName(name)
  grantsOf(grants, 'grants')
  const id = randomBytes(ID_BYTES).toString('hex')
  const key = `ltk_${id}_${randomBytes(SECRET_BYTES).toString('base64url')}`
  return { key, stored: { id, name, sha256: hashOf(key).toString('hex'), grants, createdMs } }
}

/** The id in a text that has the form of an API key; null in any other. */
export function keyIdOf(text: string): string | null {
  return API_KEY.exec(text)?.[1] ?? null
}

export function hashOf(key: string): Buffer {
  return createHash('sha256').update(key).digest()
}

function checkKeyName(name: unknown): string {
  if (typeof name === 'string' && NAME.test(name)) return checkId(name, 'name of a key')
  const shown = JSON.stringify(name)?.slice(0, 80)
  throw new LitetopicError('BAD_REQUEST', `a key is named by 1–64 characters of [A-Za-z0-9._~:@-], not ${shown}`)
}

function parse(path: string, text: string): AccessFile {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    // What the parser says quotes the text, and the secret is in it.
    throw wrong(path, 'it is not JSON: bring back a copy of it, or remove it and make new keys')
  }
  const { version, tokenSecret, keys } = (value ?? {}) as Record<string, unknown>
  if (version !== VERSION) throw wrong(path, `it is of version ${JSON.stringify(version)}, not ${VERSION}`)
  if (typeof tokenSecret !== 'string' || Buffer.from(tokenSecret, 'base64url').length < SECRET_BYTES) {
    throw wrong(path, `tokenSecret must be ${SECRET_BYTES} bytes in base64url`)
  }
  if (!Array.isArray(keys) || keys.length > LIMITS.accessKeys) {
    throw wrong(path, `keys must be a list of at most ${LIMITS.accessKeys}`)
  }
  return { tokenSecret, keys: keys.map((key, i) => checkKey(path, key, `keys[${i}]`)) }
}

function checkKey(path: string, key: unknown, at: string): StoredKey {
  const { id, name, sha256, grants, createdMs } = (key ?? {}) as Partial<StoredKey>
  if (typeof id !== 'string' || !/^[0-9a-f]{12}$/.test(id)) throw wrong(path, `${at}.id must be 12 hex digits`)
  if (typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/.test(sha256))
    throw wrong(path, `${at}.sha256 must be 64 hex digits`)
  try {
    checkKeyName(name)
    grantsOf(grants, 'grants')
  } catch (error) {
    throw wrong(path, `${at}: ${(error as Error).message}`, error)
  }
  return { id, sha256, name: name as string, grants: grants as GrantTable, createdMs: Number(createdMs) || 0 }
}

function wrong(path: string, what: string, cause?: unknown): LitetopicError {
  return new LitetopicError('BAD_REQUEST', `the access file ${path}: ${what}`, { path }, cause)
}
