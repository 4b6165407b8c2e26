/** `litetopic key`, and what it changes for a broker that runs: as processes. About 4 s of CPU. */

import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { readAccessFile } from '../../broker/access/access-file.ts'
import { parseGrant } from '../../broker/cli/key.ts'
import { killAll, litetopic } from './processes.ts'

vi.setConfig({ testTimeout: 120_000 })

let data: string
beforeEach(async () => {
  data = join(await mkdtemp(join(tmpdir(), 'litetopic-cli-')), 'data')
})
afterEach(async () => {
  killAll()
  await rm(join(data, '..'), { recursive: true, force: true })
})

const run = (args: string[], env: NodeJS.ProcessEnv = {}) => litetopic(args, { env }).ended

test('a key is made before the first start, is asked for by the broker, and is over as soon as it is revoked', async () => {
  const made = await run([
    'key',
    'create',
    'backend',
    '--data',
    data,
    '--grant',
    'support=read,write,manage',
    '--grant',
    '*=read,manage',
  ])
  const key = made.stdout.trim()
  expect([made.code, key]).toEqual([0, expect.stringMatching(/^ltk_[0-9a-f]{12}_[\w-]{43}$/)])
  const file = join(data, 'access.json')
  expect([(await stat(file)).mode & 0o777, (await readFile(file, 'utf8')).includes(key.slice(17))]).toEqual([
    0o600,
    false,
  ])
  const issued = await run(['token', '--data', data, '--topic', 'other', '--can', 'read', '--for', '1h', '--as', 'ada'])
  expect([issued.code, issued.stderr]).toEqual([
    0,
    expect.stringMatching(/^litetopic: a token for ada to read other, until /),
  ])
  const broker = litetopic(['serve', '--port', '0', '--host', '0.0.0.0', '--data', data])
  const [, port] = await broker.printed(/^litetopic listening on ws:\/\/0\.0\.0\.0:(\d+)/)
  expect(await broker.printed(/access by API keys/)).toBeTruthy()
  const env = { LITETOPIC_URL: `ws://127.0.0.1:${port}`, LITETOPIC_TOKEN: key }
  const [without, withKey, byToken, top] = await Promise.all([
    run(['list'], { ...env, LITETOPIC_TOKEN: '' }),
    run(['list'], env),
    run(['list', 'other', '--json'], { ...env, LITETOPIC_TOKEN: issued.stdout.trim() }),
    run(['top', '--json', '--count', '1'], env),
  ])
  expect([byToken.code, byToken.stdout, byToken.stderr]).toEqual([0, '', ''])
  expect([without.code, withKey.code]).toEqual([2, 0])
  expect([top.code, top.stderr, JSON.parse(top.stdout || 'null')]).toEqual([0, '', expect.any(Object)])
  expect(without.stderr).toMatch(/^litetopic: .*LITETOPIC_TOKEN.*\[UNAUTHENTICATED\]\n$/)
  const [stored] = (await readAccessFile(file))?.keys ?? []
  const revoked = await run(['key', 'revoke', stored?.id ?? '', '--data', data])
  expect([revoked.code, revoked.stderr]).toEqual([0, expect.stringContaining('has been told')])
  const late = await run(['list'], env)
  expect([late.code, late.stderr]).toEqual([2, expect.stringContaining('UNAUTHENTICATED')])
  broker.process.kill('SIGHUP')
  expect(await broker.printed(/SIGHUP, certificate and keys are read again/)).toBeTruthy()
  await chmod(file, 0o644)
  broker.process.kill('SIGHUP')
  expect(await broker.printed(/SIGHUP, but all stays as it was: .*chmod 600/)).toBeTruthy()
  const audited = (await readFile(join(data, 'audit.log'), 'utf8')).trim().split('\n')
  const events = audited.map((line) => (JSON.parse(line) as { event: string }).event)
  expect(events).toEqual(['grant', 'token', 'refuse', 'revoke', 'refuse'])
  for (const { stdout, stderr } of [without, withKey, revoked, late])
    expect(stdout + stderr).not.toContain(key.slice(17))
  expect(broker.stdout() + broker.stderr()).not.toContain(key.slice(17))
})

test('what is wrong is said in one line, with the way to mend it, and exit code 2', async () => {
  await run(['key', 'create', 'a', '--data', data, '--grant', '*=all'])
  const file = join(data, 'access.json')
  await chmod(file, 0o644)
  const other = join(data, 'other')
  const torn = join(data, 'torn')
  await mkdir(torn)
  await writeFile(join(torn, 'access.json'), '{"tokenSecret":S3cretS3cret"}', { mode: 0o600 })
  const config = join(data, 'config.json')
  await writeFile(config, JSON.stringify({ accessFile: join(data, 'acess.json') }))
  const failures = await Promise.all([
    run(['serve', '--data', data]),
    run(['serve', '--data', other, '--port', '0', '--host', '0.0.0.0']),
    run(['serve', '--data', other, '--port', '0', '--tls-cert', file]),
    run(['serve', '--data', other, '--port', '0', '--allow-origin', 'app.example.com']),
    run(['key', 'create', 'b', '--data', other]),
    run(['key', 'create', 'b c', '--data', other, '--grant', '*=all']),
    run(['key', 'revoke', 'x', '--data', other]),
    run(['token', '--topic', 'x', '--can', 'read', '--data', other]),
    run(['list', '--token-file', join(data, 'none')]),
    run(['serve', '--data', torn, '--port', '0']),
    run(['serve', '--data', other, '--port', '0', '--config', config]),
  ])
  const told = [
    /chmod 600/,
    /--insecure-open/,
    /--tls-key/,
    /no origin: write/,
    /--grant/,
    /1–64 characters/,
    /key list/,
    /no access is configured/,
    /token file .* \(ENOENT\)/,
    /access\.json: it is not JSON/,
    /accessFile: there is no .*acess\.json: make one/,
  ]
  for (const [i, { code, stderr }] of failures.entries()) {
    expect([i, code, stderr]).toEqual([i, 2, expect.stringMatching(told[i] as RegExp)])
    expect(stderr).toMatch(/^litetopic: [^\n]+\n$/)
    expect(stderr).not.toContain('S3c')
  }
  await expect(stat(join(other, 'FORMAT'))).rejects.toMatchObject({ code: 'ENOENT' })
})

test('grants are a prefix and rights', () => {
  expect(parseGrant('*=all')).toEqual(['', ['read', 'write', 'stop', 'manage']])
  expect(parseGrant('a/b=stop,read')).toEqual(['a/b', ['read', 'stop']])
  expect(parseGrant('secret=none')).toEqual(['secret', []])
  for (const wrong of ['a', '=read', 'a=', 'a=reed', 'a=read,']) expect(() => parseGrant(wrong)).toThrow(/rights/)
})
