/** The audit log: what it holds, what it never holds, and how large it becomes. About 1 s. */

import { mkdir, readdir, readFile, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { AUDIT_FILE, Audit } from '../../broker/access/audit.ts'
import { LIMITS, UP } from '../../protocol/index.ts'
import { accessOf, RIGHTS } from './access.ts'
import { TestBroker, tempDir } from './brokers.ts'
import { codeOf } from './peer.ts'
import { VirtualClock } from './virtual-clock.ts'

interface Line {
  readonly event: string
  readonly [fact: string]: unknown
}

async function linesOf(path: string): Promise<Line[]> {
  const text = await readFile(path, 'utf8')
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line)
}

test('tells who attached, was refused, stopped, deleted, and was given or lost what; and no secret', async () => {
  const access = await accessOf({ admin: { '': RIGHTS }, reader: { t: ['read'] } })
  const test = await TestBroker.start({ accessFile: access.path })
  test.token = access.keys.admin
  const [admin, reader] = [await test.peer(), await test.peer({ token: access.keys.reader })]
  await admin.attach('t', { producer: 'p' })
  await reader.attach('t')
  await codeOf(reader.ask(UP.stop, 0, null, {}))
  await codeOf(reader.attach('other', {}, 1))
  const { token } = await admin.ask(UP.issueToken, { topic: 't', can: ['read'], as: 'ada' })
  await admin.ask(UP.stop, 0, 's', {})
  await admin.ask(UP.delete, 't', null)
  const wrong = await test.peer({ hello: false })
  wrong.send([UP.hello, 1, { token: 'ltk_wrong' }])
  await wrong.closedBy()
  await access.revoke('reader')
  await test.broker.reload()
  await test.broker.close()
  const path = join(dirname(access.path), AUDIT_FILE)
  const told = await linesOf(path)
  const [adminId, readerId] = [access.stored.admin?.id, access.stored.reader?.id]
  const address = expect.stringContaining('127.0.0.1')
  const time = expect.stringMatching(/^2025-06-15T/)
  expect(told).toEqual([
    { time, event: 'attach', principal: 'admin', keyId: adminId, address, topic: 't' },
    { time, event: 'attach', principal: 'reader', keyId: readerId, address, topic: 't' },
    { time, event: 'refuse', principal: 'reader', keyId: readerId, address, topic: 't', right: 'stop' },
    { time, event: 'refuse', principal: 'reader', keyId: readerId, address, topic: 'other', right: null },
    expect.objectContaining({
      event: 'token',
      principal: 'admin',
      keyId: adminId,
      to: 'admin/ada',
      grants: { t: ['read'] },
    }),
    { time, event: 'stop', principal: 'admin', keyId: adminId, address, topic: 't', stream: 's' },
    { time, event: 'delete', principal: 'admin', keyId: adminId, address, topic: 't' },
    { time, event: 'refuse', address, reason: 'wrong' },
    { time, event: 'revoke', principal: 'reader', keyId: readerId },
  ])
  const text = await readFile(path, 'utf8')
  for (const secret of [token, 'ltk_', ...Object.values(access.keys)]) expect(text).not.toContain(secret)
  expect((await stat(path)).mode & 0o777).toBe(0o600)
})

test('is not there without access', async () => {
  const dataDir = await tempDir()
  const test = await TestBroker.start({ dataDir })
  await (await test.peer()).attach('t')
  await test.broker.close()
  expect(await readdir(dataDir)).not.toContain(AUDIT_FILE)
})

test('is set aside when it is large, and the oldest goes', async () => {
  const directory = await tempDir()
  const path = join(directory, AUDIT_FILE)
  const audit = new Audit(path, new VirtualClock(), () => undefined)
  const large = 'x'.repeat(LIMITS.auditBytes * 0.6)
  for (let i = 0; i < LIMITS.auditFiles + 4; i++) {
    audit.note('attach', { number: i, large })
    await audit.close()
  }
  const files = await readdir(directory)
  expect(files.sort()).toEqual([
    AUDIT_FILE,
    ...Array.from({ length: LIMITS.auditFiles }, (_, i) => `${AUDIT_FILE}.${i + 1}`),
  ])
  const numberIn = async (name: string) => (await linesOf(join(directory, name)))[0]?.number
  expect(await Promise.all([numberIn(AUDIT_FILE), numberIn(`${AUDIT_FILE}.1`), numberIn(`${AUDIT_FILE}.8`)])).toEqual([
    11, 10, 3,
  ])
})

test('says once that it cannot be written, keeps nothing beyond its bound, and tells how much is missing', async () => {
  const path = join(await tempDir(), 'later', AUDIT_FILE)
  const told: string[] = []
  const audit = new Audit(path, new VirtualClock(), (line) => told.push(line))
  for (let i = 0; i < 3; i++) {
    audit.note('attach', { number: i })
    await audit.close()
  }
  expect(told).toEqual([expect.stringContaining('ENOENT')])
  await mkdir(dirname(path))
  const large = 'x'.repeat(LIMITS.auditWaitingBytes)
  for (const number of [3, 4, 5]) audit.note('attach', { number, large })
  await audit.close()
  const lines = await linesOf(path)
  expect(lines.map(({ number, event, count }) => number ?? `${event} ${count}`)).toEqual([3, 'lost 5'])
})
