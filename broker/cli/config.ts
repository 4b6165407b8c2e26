/**
 * The configuration file of `litetopic serve`: JSON, checked before anything starts, with messages that name the key. Options
 * of the command line come before the file, and the file before the defaults of the broker.
 */

import { readFile } from 'node:fs/promises'
import { checkPrefix, isLitetopicError, LitetopicError } from '../../protocol/index.ts'
import type { JwtOptions, LimitOptions, PrefixLimits } from '../index.ts'
import { parseDuration, parseLinger } from './duration.ts'

/** Where the data goes when nothing else is said. */
export const DEFAULT_DATA_DIR = './data'

/** What topics below a prefix are given. */
export interface PolicyConfig {
  lingerMs?: number | 'forever'
  maxBytes?: number
  maxRecords?: number
  maxAgeMs?: number
  ttlMs?: number
  limits?: PrefixLimits
}

/** What `serve` needs; a key that is absent was not configured. */
export interface ServeConfig {
  host?: string
  port?: number
  dataDir?: string
  durability?: 'fsync' | 'os'
  lingerMs?: number | 'forever'
  streamGraceMs?: number
  quietMs?: number
  maxMessageBytes?: number
  limits?: LimitOptions
  policies?: Record<string, PolicyConfig>
  webhookHosts?: string[]
  publicUrl?: string
  accessFile?: string
  insecureOpen?: boolean
  jwt?: JwtOptions[]
  allowOrigins?: string[]
  tlsCert?: string
  tlsKey?: string
}

type Reader<T> = (value: unknown, key: string) => T

const MAX_PORT = 65_535

/** Readers of counts under their own names. */
function counts(...names: string[]): Readonly<Record<string, Reader<Record<string, number>>>> {
  return Object.fromEntries(names.map((name) => [name, (value, key) => ({ [name]: count(value, key) })]))
}

const LIMIT_KEYS = ['messageBytes', 'attachments', 'subscriptions', 'recordsPerSecond', 'bytesPerSecond']
const CONNECTION_LIMITS = counts('frameBytes', ...LIMIT_KEYS)
const TOPIC_LIMITS = counts('bytes', ...LIMIT_KEYS)
const PREFIX_LIMITS = counts('topics', 'bytes', ...LIMIT_KEYS)

const LIMITS_KEYS = {
  connection: (value: unknown, key: string): LimitOptions => ({ connection: readKeys(value, key, CONNECTION_LIMITS) }),
  topic: (value: unknown, key: string): LimitOptions => ({ topic: readKeys(value, key, TOPIC_LIMITS) }),
}

const POLICY_KEYS = {
  linger: (value: unknown, key: string): PolicyConfig => ({ lingerMs: linger(value, key) }),
  maxBytes: (value: unknown, key: string): PolicyConfig => ({ maxBytes: count(value, key) }),
  maxRecords: (value: unknown, key: string): PolicyConfig => ({ maxRecords: count(value, key) }),
  maxAge: (value: unknown, key: string): PolicyConfig => ({ maxAgeMs: duration(value, key) }),
  ttl: (value: unknown, key: string): PolicyConfig => ({ ttlMs: duration(value, key) }),
  limits: (value: unknown, key: string): PolicyConfig => ({ limits: readKeys(value, key, PREFIX_LIMITS) }),
}

const JWT_TEXTS = ['name', 'issuer', 'audience', 'algorithm', 'secretFile', 'publicKeyFile', 'jwksFile', 'jwksUrl']
/** What they mean is checked where they are used. */
const JWT_KEYS = {
  ...Object.fromEntries(
    JWT_TEXTS.map((name) => [name, (value: unknown, key: string): object => ({ [name]: nonEmpty(value, key) })]),
  ),
  grants: (value: unknown, key: string): object => ({ grants: plainObject(value, key) }),
}

const KEYS = {
  host: (value: unknown, key: string): ServeConfig => ({ host: nonEmpty(value, key) }),
  port: (value: unknown, key: string): ServeConfig => ({ port: port(value, key) }),
  data: (value: unknown, key: string): ServeConfig => ({ dataDir: nonEmpty(value, key) }),
  durability: (value: unknown, key: string): ServeConfig => ({ durability: durability(value, key) }),
  linger: (value: unknown, key: string): ServeConfig => ({ lingerMs: linger(value, key) }),
  streamGrace: (value: unknown, key: string): ServeConfig => ({ streamGraceMs: duration(value, key) }),
  quiet: (value: unknown, key: string): ServeConfig => ({ quietMs: duration(value, key) }),
  maxMessageBytes: (value: unknown, key: string): ServeConfig => ({ maxMessageBytes: count(value, key) }),
  limits: (value: unknown, key: string): ServeConfig => ({ limits: readKeys(value, key, LIMITS_KEYS) }),
  policies: (value: unknown, key: string): ServeConfig => ({ policies: policies(value, key) }),
  webhookHosts: (value: unknown, key: string): ServeConfig => ({ webhookHosts: texts(value, key) }),
  publicUrl: (value: unknown, key: string): ServeConfig => ({ publicUrl: nonEmpty(value, key) }),
  accessFile: (value: unknown, key: string): ServeConfig => ({ accessFile: nonEmpty(value, key) }),
  jwt: (value: unknown, key: string): ServeConfig => ({
    jwt: list(value, key).map((one, i) => readKeys(one, `${key}.${i}`, JWT_KEYS) as JwtOptions),
  }),
  allowOrigins: (value: unknown, key: string): ServeConfig => ({ allowOrigins: texts(value, key) }),
  tlsCert: (value: unknown, key: string): ServeConfig => ({ tlsCert: nonEmpty(value, key) }),
  tlsKey: (value: unknown, key: string): ServeConfig => ({ tlsKey: nonEmpty(value, key) }),
  insecureOpen: (value: unknown, key: string): ServeConfig => ({ insecureOpen: flag(value, key) }),
}

/** Reads and checks the file. Throws BAD_REQUEST, with the key in its details if it is about one. */
export async function loadConfig(path: string): Promise<ServeConfig> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    throw new LitetopicError('BAD_REQUEST', `the configuration file ${path} cannot be read (${code})`, {}, cause)
  }
  try {
    return parseConfig(text)
  } catch (error) {
    if (!isLitetopicError(error)) throw error
    throw new LitetopicError(error.code, `${path}: ${error.message}`, error.details, error)
  }
}

/** The configuration in a JSON text. Throws BAD_REQUEST, with the key in its details if it is about one. */
export function parseConfig(text: string): ServeConfig {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new LitetopicError('BAD_REQUEST', `not JSON: ${(cause as Error).message}`, {}, cause)
  }
  return readKeys(value, '', KEYS)
}

/** A port from text or JSON: 0 lets the system choose. Throws BAD_REQUEST. */
export function port(value: unknown, key: string): number {
  const number = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value
  if (typeof number === 'number' && Number.isInteger(number) && number >= 0 && number <= MAX_PORT) return number
  throw wrong(key, `must be a port from 0 to ${MAX_PORT}`, value)
}

/** Throws BAD_REQUEST for anything but `fsync` and `os`. */
export function durability(value: unknown, key: string): 'fsync' | 'os' {
  if (value === 'fsync' || value === 'os') return value
  throw wrong(key, 'must be "fsync" or "os"', value)
}

function readKeys<T extends object>(value: unknown, at: string, keys: Readonly<Record<string, Reader<T>>>): T {
  const object = plainObject(value, at)
  const read = {} as T
  for (const [name, inner] of Object.entries(object)) {
    const key = at === '' ? name : `${at}.${name}`
    const reader = Object.hasOwn(keys, name) ? keys[name] : undefined
    if (reader === undefined) {
      const known = Object.keys(keys).join(', ')
      throw new LitetopicError('BAD_REQUEST', `unknown key "${key}": there are ${known}`, { key })
    }
    Object.assign(read, reader(inner, key))
  }
  return read
}

function policies(value: unknown, key: string): Record<string, PolicyConfig> {
  const found: Record<string, PolicyConfig> = {}
  for (const [prefix, inner] of Object.entries(plainObject(value, key))) {
    const at = `${key}.${prefix}`
    found[wrapped(at, () => checkPrefix(prefix))] = readKeys(inner, at, POLICY_KEYS)
  }
  return found
}

function linger(value: unknown, key: string): number | 'forever' {
  if (typeof value !== 'string') throw wrong(key, 'must be a duration such as "10m", or "forever"', value)
  return wrapped(key, () => parseLinger(value))
}

function duration(value: unknown, key: string): number {
  if (typeof value !== 'string') throw wrong(key, 'must be a duration such as "10m"', value)
  return wrapped(key, () => parseDuration(value))
}

function count(value: unknown, key: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value > 0) return value
  throw wrong(key, 'must be a whole number above 0', value)
}

function nonEmpty(value: unknown, key: string): string {
  if (typeof value === 'string' && value !== '') return value
  throw wrong(key, 'must be text', value)
}

function flag(value: unknown, key: string): boolean {
  if (typeof value === 'boolean') return value
  throw wrong(key, 'must be true or false', value)
}

function texts(value: unknown, key: string): string[] {
  return list(value, key, 'must be a list of texts').map((one, i) => nonEmpty(one, `${key}.${i}`))
}

function list(value: unknown, key: string, rule = 'must be a list'): unknown[] {
  if (Array.isArray(value)) return value
  throw wrong(key, rule, value)
}

function plainObject(value: unknown, key: string): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  throw wrong(key || 'the configuration', 'must be an object', value)
}

function wrapped<T>(key: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (!isLitetopicError(error)) throw error
    throw new LitetopicError('BAD_REQUEST', `${key}: ${error.message}`, { key }, error)
  }
}

function wrong(key: string, rule: string, value: unknown): LitetopicError {
  const shown = JSON.stringify(value)?.slice(0, 60) ?? String(value)
  return new LitetopicError('BAD_REQUEST', `${key} ${rule}, not ${shown}`, { key })
}
