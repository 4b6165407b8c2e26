/** Access files of tests: keys by the names of their principals. */

import { join } from 'node:path'
import { changeAccessFile, newKey, type StoredKey } from '../../broker/access/access-file.ts'
import type { GrantTable, Right } from '../../broker/access/rights.ts'
import { tempDir } from './brokers.ts'

export const RIGHTS: readonly Right[] = ['read', 'write', 'stop', 'manage']

export interface TestAccess {
  readonly path: string
  /** By principal. */
  readonly keys: Readonly<Record<string, string>>
  readonly stored: Readonly<Record<string, StoredKey>>
  /** As the command line does. */
  revoke(name: string): Promise<void>
}

/** A key for each principal, with its grants. */
export async function accessOf(principals: Readonly<Record<string, GrantTable>>): Promise<TestAccess> {
  const path = join(await tempDir(), 'access.json')
  const made = Object.entries(principals).map(([name, grants]) => [name, newKey(name, grants, 0)] as const)
  await changeAccessFile(path, (file) => ({ ...file, keys: made.map(([, { stored }]) => stored) }))
  return {
    path,
    keys: Object.fromEntries(made.map(([name, { key }]) => [name, key])),
    stored: Object.fromEntries(made.map(([name, { stored }]) => [name, stored])),
    revoke: (name) =>
      changeAccessFile(path, (file) => ({ ...file, keys: file.keys.filter((key) => key.name !== name) })),
  }
}

/** Principals that lack one right each (`no-read`), have only one (`only-read`), none (`nobody`) or all (`admin`). */
export function everyCombination(): Readonly<Record<string, GrantTable>> {
  return {
    admin: { '': RIGHTS },
    nobody: {},
    ...Object.fromEntries(RIGHTS.map((right) => [`no-${right}`, { '': RIGHTS.filter((other) => other !== right) }])),
    ...Object.fromEntries(RIGHTS.map((right) => [`only-${right}`, { '': [right] }])),
  }
}
