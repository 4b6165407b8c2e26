/** `litetopic key`: who may use a broker. Changes the access file in its data directory, and tells the broker if it runs. */

import { realpath } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { LitetopicError } from '../../protocol/index.ts'
import { ACCESS_FILE, changeAccessFile, newKey, readAccessFile, type StoredKey } from '../access/access-file.ts'
import { AUDIT_FILE, Audit, type AuditEvent, type AuditFacts } from '../access/audit.ts'
import { type GrantTable, parseRights, type Right } from '../access/rights.ts'
import { systemClock } from '../clock.ts'
import { askToReload, CONTROL_SOCKET } from '../control.ts'
import { DEFAULT_DATA_DIR } from './config.ts'
import { formatTime, jsonLine, table, write } from './output.ts'

export interface KeyOptions {
  /** Of the broker. */
  readonly data?: string
  readonly json?: boolean
}

/** One for `*`, or for all topics below a prefix: `support=read,write`. */
export type GrantOption = readonly [prefix: string, rights: readonly Right[]]

const HEADER = ['ID', 'NAME', 'GRANTS', 'CREATED']

/** Makes a key and prints it, once: only its hash is kept. Rejects with BAD_REQUEST or BAD_NAME. */
export async function createKey(
  name: string,
  options: KeyOptions & { readonly grant?: readonly GrantOption[] },
): Promise<void> {
  if (options.grant === undefined) {
    throw new LitetopicError('BAD_REQUEST', "a key without --grant could do nothing: --grant 'support=read,write'")
  }
  const grants: GrantTable = Object.fromEntries(options.grant)
  const { key, stored } = newKey(name, grants, Date.now())
  await changeAccessFile(accessFile(options), (file) => ({ ...file, keys: [...file.keys, stored] }))
  if (options.json) await write(jsonLine({ ...shown(stored), key }))
  else await write(`${key}\n`)
  console.error(`litetopic: key ${stored.id} of ${name} is made: keep it, it is not shown again`)
  await tellBroker(options, 'grant', stored)
}

export async function listKeys(options: KeyOptions): Promise<void> {
  const { keys = [] } = (await readAccessFile(accessFile(options))) ?? {}
  if (options.json) await write(keys.map((key) => jsonLine(shown(key))).join(''))
  else await write(table([HEADER, ...keys.map(row)], new Set()))
}

/** Revokes a key by its id; whoever uses it now, or a token that it has issued, is sent away. Rejects with BAD_REQUEST. */
export async function revokeKey(id: string, options: KeyOptions): Promise<void> {
  let revoked: StoredKey | undefined
  await changeAccessFile(accessFile(options), (file) => {
    revoked = file.keys.find((key) => key.id === id)
    if (revoked !== undefined) return { ...file, keys: file.keys.filter((key) => key !== revoked) }
    throw new LitetopicError('BAD_REQUEST', `there is no key of id ${id}: see them with "litetopic key list"`)
  })
  console.error(`litetopic: key ${id} is revoked`)
  await tellBroker(options, 'revoke', revoked as unknown as StoredKey)
}

/** `support=read,write` or `*=all`. Throws BAD_REQUEST. */
export function parseGrant(text: string): GrantOption {
  const at = text.lastIndexOf('=')
  if (at < 1) {
    throw new LitetopicError(
      'BAD_REQUEST',
      `${JSON.stringify(text)} is no grant: write a prefix and rights, such as support=read`,
    )
  }
  const prefix = text.slice(0, at)
  return [prefix === '*' ? '' : prefix, parseRights(text.slice(at + 1), text.slice(0, at))]
}

export function accessFile({ data }: KeyOptions): string {
  return join(resolve(data ?? DEFAULT_DATA_DIR), ACCESS_FILE)
}

/** Writes into the audit log of a broker, where none runs that would do it itself. */
export async function noteOffline({ data }: KeyOptions, event: AuditEvent, facts: AuditFacts): Promise<void> {
  const audit = new Audit(join(dirname(accessFile({ data })), AUDIT_FILE), systemClock, (line) => console.error(line))
  audit.note(event, facts)
  await audit.close()
}

async function tellBroker({ data }: KeyOptions, event: 'grant' | 'revoke', key: StoredKey): Promise<void> {
  const address = await realpath(join(resolve(data ?? DEFAULT_DATA_DIR), CONTROL_SOCKET)).catch(() => null)
  const isTold = address !== null && (await askToReload(address))
  const what = isTold ? 'the broker that runs there has been told' : 'no broker runs there: the next one will know'
  console.error(`litetopic: ${what}`)
  const { id, name, grants } = key
  if (!isTold) await noteOffline({ data }, event, { principal: name, keyId: id, ...(event === 'grant' && { grants }) })
}

function shown({ id, name, grants, createdMs }: StoredKey): object {
  return { id, name, grants, createdMs }
}

function row({ id, name, grants, createdMs }: StoredKey): string[] {
  const granted = Object.entries(grants).map(([prefix, rights]) => `${prefix || '*'}=${rights.join(',') || 'none'}`)
  return [id, name, granted.join(' '), formatTime(createdMs)]
}
