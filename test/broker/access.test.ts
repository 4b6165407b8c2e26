/** Who may do what over WebSocket: every frame is refused without its right, and what a client shows is checked for as long as it is there. About 2 s. */

import { rename } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { Attempts } from '../../broker/access/attempts.ts'
import { Grants, RIGHT, type Right } from '../../broker/access/rights.ts'
import { NamedOperations } from '../../broker/named-operations.ts'
import { Operations } from '../../broker/operations.ts'
import { WakerVerbs } from '../../broker/wakes/verbs.ts'
import { LIMITS, UP } from '../../protocol/index.ts'
import { accessOf, everyCombination, RIGHTS } from './access.ts'
import { message, TestBroker } from './brokers.ts'
import type { Peer } from './peer.ts'
import { VirtualClock } from './virtual-clock.ts'

type Frame = keyof typeof UP

/** The right that each frame needs; none for those about the connection itself, and what it has. */
const NEEDS: Readonly<Record<Frame, Right | 'any' | 'none'>> = {
  hello: 'none',
  token: 'none',
  attach: 'any',
  detach: 'none',
  append: 'write',
  openStream: 'write',
  stop: 'stop',
  trim: 'manage',
  policy: 'manage',
  subscribe: 'read',
  unsubscribe: 'none',
  credit: 'none',
  resume: 'read',
  describe: 'read',
  list: 'none',
  delete: 'manage',
  checkpoints: 'read',
  context: 'read',
  stream: 'read',
  closeTopic: 'write',
  fork: 'read',
  issueToken: 'read',
  upload: 'write',
  part: 'write',
  abandon: 'write',
  fetch: 'read',
}

/** Asks for topic `t`, attached as handle 0. */
const ASK: Readonly<Partial<Record<Frame, (peer: Peer) => Promise<unknown>>>> = {
  attach: (peer) => peer.attach('t', {}, 1),
  append: (peer) => peer.append({ sequence: 0 }, message('x')),
  openStream: (peer) => peer.ask(UP.openStream, 0, 0, 0, 's', 'create'),
  stop: (peer) => peer.ask(UP.stop, 0, null, {}),
  trim: (peer) => peer.ask(UP.trim, 0, 0, 0, { before: 0 }),
  policy: (peer) => peer.ask(UP.policy, 0, { lingerMs: 1 }),
  subscribe: (peer) => peer.ask(UP.subscribe, 0, 0, { start: true }, {}),
  resume: (peer) => peer.ask(UP.resume, 0, {}),
  describe: (peer) => peer.ask(UP.describe, 't'),
  delete: (peer) => peer.ask(UP.delete, 't', null),
  checkpoints: (peer) => peer.ask(UP.checkpoints, 0, {}),
  context: (peer) => peer.ask(UP.context, 0, {}),
  stream: (peer) => peer.ask(UP.stream, 0, 's'),
  closeTopic: (peer) => peer.ask(UP.closeTopic, 0, 0, 0, {}),
  fork: (peer) => peer.ask(UP.fork, 't', 'fork', {}),
  issueToken: (peer) => peer.ask(UP.issueToken, { topic: 't', can: ['read'] }),
  upload: (peer) => peer.ask(UP.upload, 0, 'u', { tag: 'text' }),
  part: (peer) => peer.ask(UP.part, 0, 'u', 0, 0, new Uint8Array(1)),
  abandon: (peer) => peer.ask(UP.abandon, 0, 'u'),
  fetch: (peer) => peer.ask(UP.fetch, 0, 0, 0, 10),
}

/** What each verb of the broker asks for before it does anything. */
const VERBS: Readonly<Record<string, string>> = {
  attach: 'any right; write, to create or to have it for itself',
  leave: 'nothing; write, of a single request',
  append: 'write',
  atomicAppend: 'write',
  openStream: 'write',
  stop: 'stop',
  keepStream: 'write',
  stream: 'read',
  trim: 'manage',
  policy: 'manage',
  policyFor: 'any right',
  subscribe: 'read',
  read: 'read',
  readNow: 'read',
  upload: 'write',
  part: 'write',
  abandon: 'write',
  fetch: 'read',
  resume: 'read',
  checkpoints: 'read',
  contextEntries: 'read',
  describe: 'read',
  list: 'read, of each that it shows',
  delete: 'manage',
  fork: 'read, and write on the fork',
  isHidden: 'any right',
  require: 'the right that it is asked for',
  issueToken: 'the rights that the token is to have, and an API key',
  // Of what is attached, or to be refused, already.
  wake: 'nothing',
  tellFenced: 'nothing',
  refuse: 'nothing',
  detach: 'nothing',
  endReading: 'nothing',
  undo: 'nothing: it has created it itself',
  uploadBegun: 'nothing: its upload was let in',
  gave: 'nothing: it counts what a verb has given',
  gaveFrom: 'nothing: the same',
  enter: 'write, else the request takes the ordinary way',
  appendAtOnce: 'write, as enter',
  readAtOnce: 'read, as enter',
  // Not verbs.
  constructor: '',
  attachments: '',
  readable: '',
  withTopic: '',
}

const WAKER_VERBS = [
  'constructor',
  'put',
  'get',
  'delete',
  'link',
  'unlink',
  'claim',
  'known',
  'allowAll',
  'checkCaller',
]
/** The token of the wake is the right; and keys that are public. */
const OPEN_WAKER_VERBS = ['acknowledge', 'release', 'publicKey']

async function start(principals = everyCombination()) {
  const access = await accessOf(principals)
  const test = await TestBroker.start({ accessFile: access.path })
  test.token = access.keys.admin
  return { test, access, as: (name: string) => test.peer({ token: access.keys[name] }) }
}

const codeOf = (asked: Promise<unknown>): Promise<string | null> =>
  asked.then(
    () => null,
    ({ code }: { code: string }) => code,
  )

test('every verb is known to the table of what it asks for', () => {
  const verbs = [Operations, NamedOperations].flatMap(({ prototype }) => Object.getOwnPropertyNames(prototype))
  expect([...new Set(verbs)].sort()).toEqual(Object.keys(VERBS).sort())
  expect(Object.getOwnPropertyNames(WakerVerbs.prototype).sort()).toEqual([...WAKER_VERBS, ...OPEN_WAKER_VERBS].sort())
  expect(Object.keys(UP).sort()).toEqual(Object.keys(NEEDS).sort())
})

test('every frame is refused without its right, and with that right alone it is not', async () => {
  const { test, as } = await start()
  const admin = await test.peer()
  await admin.attach('t', { producer: 'admin' })
  await admin.append({ sequence: 0 }, message('kept'))
  const frames = Object.entries(ASK) as [Frame, (peer: Peer) => Promise<unknown>][]
  for (const right of RIGHTS) {
    const [without, only] = [await as(`no-${right}`), await as(`only-${right}`)]
    for (const peer of [without, only]) await peer.attach('t', { producer: `p-${right}` })
    for (const [frame, ask] of frames.filter(([name]) => NEEDS[name] === right)) {
      expect([frame, await codeOf(ask(without))]).toEqual([frame, 'ACCESS_DENIED'])
    }
    for (const [frame, ask] of frames.filter(([name]) => NEEDS[name] === right)) {
      if (frame === 'fork' || frame === 'delete' || frame === 'closeTopic') continue
      expect([frame, await codeOf(ask(only))]).not.toEqual([frame, 'ACCESS_DENIED'])
    }
  }
  const nobody = await as('nobody')
  for (const [frame, ask] of frames.filter(([name]) => NEEDS[name] === 'any')) {
    expect([frame, await codeOf(ask(nobody))]).toEqual([frame, 'ACCESS_DENIED'])
  }
  expect(frames.map(([name]) => name).sort()).toEqual(
    Object.keys(NEEDS)
      .filter((name) => NEEDS[name as Frame] !== 'none')
      .sort(),
  )
  expect(await admin.ask(UP.describe, 't')).toMatchObject({ nextOffset: expect.any(Number), closed: false })
})

describe('a topic', () => {
  test('is created, forked to and taken for itself only by who may write it', async () => {
    const { test, as } = await start({
      reader: { '': ['read'], own: ['read', 'write'] },
      admin: { '': RIGHTS },
    })
    const [reader, admin] = [await as('reader'), await test.peer()]
    expect(await codeOf(reader.attach('t'))).toBe('ACCESS_DENIED')
    expect(await codeOf(reader.attach('t', { create: false }))).toBe('NOT_FOUND')
    await admin.attach('t')
    await reader.attach('t')
    expect(await codeOf(reader.attach('t', { exclusive: true, producer: 'r' }, 1))).toBe('ACCESS_DENIED')
    expect(await codeOf(reader.ask(UP.fork, 't', 'other', {}))).toBe('ACCESS_DENIED')
    expect(await reader.ask(UP.fork, 't', 'own/fork', {})).toMatchObject({ created: true })
  })

  test('cannot be written in the name of a producer that is connected by who may only read', async () => {
    const { test, as } = await start()
    const admin = await test.peer()
    await admin.attach('t', { producer: 'p' })
    const { fence } = await admin.ask(UP.openStream, 0, 0, 0, 's', 'create')
    const reader = await as('only-read')
    expect(await reader.attach('t', { producer: 'p' })).toMatchObject({ producer: null })
    await test.drop(reader)
    await test.clock.advance(LIMITS.streamGraceMs + 1000)
    expect(await admin.ask(UP.stream, 0, 's')).toMatchObject({ stream: { live: true, state: 'open', fence } })
  })

  test('is listed for who may read it, page by page, whatever lies between', async () => {
    const some = { '': ['read'], a: [], 'a/open': ['read'], 'b/c': [] } as const
    const { test, as } = await start({ admin: { '': RIGHTS }, some })
    const admin = await test.peer()
    const names = ['a', 'a-x', 'a/1', 'a/2', 'a/open', 'a/open/1', 'a/z', 'a.b', 'b', 'b/c', 'b/c/1', 'b/d', 'c']
    for (const [handle, name] of names.entries()) await admin.attach(name, {}, handle)
    const peer = await as('some')
    for (const limit of [1, 2, 3, 100]) {
      for (const [prefix, expected] of [
        ['', ['a-x', 'a.b', 'a/open', 'a/open/1', 'b', 'b/d', 'c']],
        ['a', ['a/open', 'a/open/1']],
        ['b', ['b', 'b/d']],
      ] as const) {
        const found: string[] = []
        for (let more = true; more; ) {
          const page = await peer.ask(UP.list, prefix, { limit, after: found.at(-1) })
          expect(page.topics.length).toBeGreaterThan(0)
          found.push(...page.topics.map(({ name }) => name))
          more = page.more && found.length < 100
        }
        expect([limit, prefix, found]).toEqual([limit, prefix, expected])
      }
    }
  })
})

describe('a connection', () => {
  test('needs a token that is right, and is told why without one', async () => {
    const { test, access } = await start()
    const right = access.keys.admin ?? ''
    const wrong = `${right.slice(0, -1)}${right.endsWith('A') ? 'B' : 'A'}`
    for (const [token, reason] of [
      [undefined, 'missing'],
      ['', 'missing'],
      ['x', 'wrong'],
      [wrong, 'wrong'],
      [right.slice(0, -1), 'wrong'],
      [access.stored.admin?.sha256, 'wrong'],
    ]) {
      const peer = await test.peer({ hello: false })
      peer.send([UP.hello, 1, { token }], [UP.describe, 1, 't'])
      expect(await peer.closedBy()).toMatchObject({ code: 'UNAUTHENTICATED', details: { reason } })
      expect([peer.closeCode, peer.welcome, JSON.stringify(peer.errors).includes(right.slice(20))]).toEqual([
        1008,
        null,
        false,
      ])
    }
    expect((await test.peer()).welcome).not.toBe(null)
  })

  test('ends when its key is revoked, with what it reads; others go on', async () => {
    const { test, access, as } = await start()
    const [reader, admin] = [await as('only-read'), await test.peer()]
    await admin.attach('t', { producer: 'p' })
    await reader.attach('t')
    await reader.read({ start: true })
    await access.revoke('only-read')
    await test.broker.reload()
    expect(await reader.closedBy()).toMatchObject({ code: 'UNAUTHENTICATED', details: { reason: 'revoked' } })
    expect(await admin.append({ sequence: 0 }, message('on'))).toBe(0)
    const again = await as('only-read').catch((error: unknown) => error)
    expect(again).toBeInstanceOf(Error)
  })

  test('is not let in for a while after many wrong tokens from its address, also with a right one', async () => {
    const { test, access } = await start()
    const hello = async (token: string | undefined) => {
      const peer = await test.peer({ hello: false })
      peer.send([UP.hello, 1, { token }])
      return peer
    }
    for (let i = 0; i < LIMITS.accessFailures; i++) {
      expect(await (await hello(`wrong-${i}`)).closedBy()).toMatchObject({ code: 'UNAUTHENTICATED' })
    }
    const refused = await (await hello(access.keys.admin)).closedBy()
    expect(refused).toMatchObject({ code: 'RATE_LIMITED', details: { retryAfterMs: expect.any(Number) } })
    await test.clock.advance(LIMITS.accessFailuresMs)
    expect((await test.peer()).welcome).not.toBe(null)
  })

  test('without access configured may do everything, until it is', async () => {
    const access = await accessOf({})
    const test = await TestBroker.start({ accessFile: `${access.path}.later` })
    expect(test.broker.hasAccess).toBe(false)
    const peer = await test.peer()
    await peer.attach('t', { producer: 'p' })
    await rename(access.path, `${access.path}.later`)
    await test.broker.reload()
    expect(await peer.closedBy()).toMatchObject({ code: 'UNAUTHENTICATED' })
    expect(test.broker.hasAccess).toBe(true)
  })
})

test('the longest prefix of whole segments counts, alone', () => {
  const { read, write, manage } = RIGHT
  const grants = new Grants(
    new Map([
      ['', read],
      ['support', read | write],
      ['support/vip', manage],
    ]),
  )
  expect(
    ['x', 'support', 'support/1', 'support2', 'support/vip', 'support/vip/1', 'support/vip2'].map((name) =>
      grants.rightsOn(name),
    ),
  ).toEqual([read, read | write, read | write, read, manage, manage, read | write])
  expect([
    grants.coversAll('support', read),
    grants.coversAll('support/1', read | write),
    grants.coversAll('', read),
  ]).toEqual([false, true, false])
})

test('addresses with wrong tokens are remembered within a bound, an IPv6 network as one', async () => {
  const attempts = new Attempts(new VirtualClock())
  for (let i = 0; i < LIMITS.accessAddresses + 10; i++) attempts.failed(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`)
  expect(attempts.size).toBe(LIMITS.accessAddresses)
  for (let i = 0; i < LIMITS.accessFailures; i++) attempts.failed(`2001:db8:0:7::${i.toString(16)}`)
  expect(() => attempts.check('2001:db8::7:ffff:0:0:1')).toThrow('too many')
  expect(() => attempts.check('2001:db8:0:8::1')).not.toThrow()
})
