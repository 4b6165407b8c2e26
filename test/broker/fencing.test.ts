/** The fence of a topic: an exclusive session shuts out all other writers, across drops and restarts, until it lets go. */

import { describe, expect, test } from 'vitest'
import type { AttachOptions } from '../../protocol/index.ts'
import { UP } from '../../protocol/index.ts'
import { checkpoint, context, message, streamEnd, TestBroker, token } from './brokers.ts'
import { HeldStore } from './held-store.ts'
import { codeOf, type Peer, refusalOf } from './peer.ts'
import { turn } from './virtual-clock.ts'

async function attached(broker: TestBroker, producer: string, options: AttachOptions = {}): Promise<Peer> {
  const peer = await broker.peer()
  await peer.attach('a', { producer, ...options })
  return peer
}

const exclusive = (broker: TestBroker, producer: string): Promise<Peer> =>
  attached(broker, producer, { exclusive: true })

const openStream = (peer: Peer, sequence: number, mode: 'create' | 'continue' | 'join' = 'create') =>
  peer.ask(UP.openStream, 0, 0, sequence, 's', mode)

const fenced = (fence: number) => ({ handle: 0, what: 'fenced', facts: { fence } })

describe('taking a topic', () => {
  test('shuts out whoever writes there: they are told, and refused whatever they write', async () => {
    const broker = await TestBroker.start()
    const plain = await attached(broker, 'plain')
    await plain.append({ sequence: 0 }, message('before'))
    const holder = await broker.peer()
    expect(await holder.attach('a', { producer: 'holder', exclusive: true })).toMatchObject({ fence: 1, nextOffset: 1 })
    await plain.notice('fenced')
    expect(plain.notices).toEqual([fenced(1)])
    expect(holder.notices).toEqual([])
    const refused = [
      plain.append({ sequence: 1 }, message('x')),
      plain.append({ sequence: 1 }, context('set', 'plan')),
      plain.append({ sequence: 1 }, checkpoint('c')),
      openStream(plain, 1),
      plain.ask(UP.trim, 0, 0, 1, { before: 1 }),
    ]
    for (const write of refused) expect(await refusalOf(write)).toMatchObject({ code: 'FENCED', details: { fence: 1 } })
    expect(await holder.append({ sequence: 0 }, message('mine'))).toBe(1)
    expect(await broker.peer().then((peer) => peer.ask(UP.describe, 'a'))).toMatchObject({
      nextOffset: 2,
      exclusive: true,
    })
  })

  test('leaves reading, stopping and the policy to everybody', async () => {
    const broker = await TestBroker.start()
    const plain = await attached(broker, 'plain')
    const holder = await exclusive(broker, 'holder')
    await openStream(holder, 0)
    const reading = await plain.read({ start: true })
    await plain.ask(UP.stop, 0, 's', { reason: 'enough' })
    await holder.notice('stopped')
    await plain.until(() => reading.states('s').length === 2)
    expect(reading.states('s')).toEqual(['open', 'stopped'])
    expect((await plain.ask(UP.policy, 0, { lingerMs: 5 })).policy.lingerMs).toBe(5)
  })

  test('needs an attachment that may write', async () => {
    const peer = await (await TestBroker.start()).peer()
    expect(await codeOf(peer.attach('a', { exclusive: true }))).toBe('BAD_REQUEST')
    expect(await codeOf(peer.attach('a', { exclusive: true, producer: 'p', observe: true }))).toBe('BAD_REQUEST')
    expect(await codeOf(peer.ask(UP.describe, 'a'))).toBe('NOT_FOUND')
  })

  test('is what the newest of two did who came at once; the other is told behind its reply', async () => {
    const broker = await TestBroker.start()
    const peer = await broker.peer()
    const [one, two] = await Promise.all(
      peer.together(() => [
        peer.attach('a', { producer: 'one', exclusive: true }, 1),
        peer.attach('a', { producer: 'two', exclusive: true }, 2),
      ]),
    )
    expect([one?.fence, two?.fence]).toEqual([1, 2])
    await peer.roundTrip()
    expect(peer.notices.at(-1)).toEqual({ ...fenced(2), handle: 1 })
    expect(await codeOf(peer.append({ handle: 1, sequence: 0 }, message('one')))).toBe('FENCED')
    expect(await codeOf(peer.append({ handle: 2, sequence: 0 }, message('two')))).toBe('ok')
  })

  test('is answered when it is durable, to everybody who attaches meanwhile', async () => {
    const store = await HeldStore.open()
    const broker = await TestBroker.start({ store })
    await attached(broker, 'first')
    const [holder, later] = [await broker.peer(), await broker.peer()]
    const letGo = store.holdJournal()
    let answers = 0
    const answered = [
      holder.attach('a', { producer: 'holder', exclusive: true }).then(() => answers++),
      holder.roundTrip().then(() => later.attach('a', { producer: 'later' }).then(() => answers++)),
    ]
    await holder.roundTrip()
    await later.roundTrip()
    expect(answers).toBe(0)
    letGo()
    await Promise.all(answered)
  })

  test('is not undone by a repeat: what a fenced producer did before is acknowledged again', async () => {
    const broker = await TestBroker.start()
    const plain = await attached(broker, 'plain')
    expect(await plain.append({ sequence: 0 }, message('before'))).toBe(0)
    await exclusive(broker, 'holder')
    expect(await plain.append({ sequence: 0 }, message('before'))).toBe(0)
    expect(await codeOf(plain.append({ sequence: 1 }, message('after')))).toBe('FENCED')
  })
})

describe('while a topic is held', () => {
  test('who attaches later may not write, until the holder detaches; who attached before never may again', async () => {
    const broker = await TestBroker.start()
    const before = await attached(broker, 'before')
    const holder = await exclusive(broker, 'holder')
    const later = await broker.peer()
    expect(await later.attach('a', { producer: 'later' })).toMatchObject({ fence: 1 })
    expect(await refusalOf(later.append({ sequence: 0 }, message('x')))).toMatchObject({
      code: 'FENCED',
      details: { fence: 1 },
    })
    expect(later.notices).toEqual([])
    await holder.ask(UP.detach, 0)
    expect(await codeOf(later.append({ sequence: 0 }, message('x')))).toBe('ok')
    expect(await codeOf(before.append({ sequence: 0 }, message('x')))).toBe('FENCED')
    expect(await broker.peer().then((peer) => peer.ask(UP.describe, 'a'))).toMatchObject({ exclusive: false })
    expect(await codeOf((await exclusive(await broker.kill(), 'next')).append({ sequence: 0 }, message('y')))).toBe(
      'ok',
    )
  })

  test('a dropped connection does not let go of it; another exclusive session takes it over at once', async () => {
    const broker = await TestBroker.start()
    const holder = await exclusive(broker, 'holder')
    await broker.drop(holder)
    const plain = await attached(broker, 'plain')
    expect(await codeOf(plain.append({ sequence: 0 }, message('x')))).toBe('FENCED')
    const next = await broker.peer()
    expect(await next.attach('a', { producer: 'next', exclusive: true })).toMatchObject({ fence: 2 })
    expect(await codeOf(next.append({ sequence: 0 }, message('x')))).toBe('ok')
  })

  test('the holder comes back to it, also one that never heard that it has it', async () => {
    const broker = await TestBroker.start()
    await broker.drop(await exclusive(broker, 'holder'))
    const deaf = await broker.peer()
    expect(await deaf.attach('a', { producer: 'holder', exclusive: true })).toMatchObject({ fence: 1 })
    await broker.drop(deaf)
    const again = await broker.peer()
    expect(await again.attach('a', { producer: 'holder', fence: 1 })).toMatchObject({ fence: 1 })
    expect(await codeOf(again.append({ sequence: 0 }, message('x')))).toBe('ok')
    expect(again.notices).toEqual([])
  })

  test('only its holder lets go of it', async () => {
    const broker = await TestBroker.start()
    const first = await exclusive(broker, 'first')
    const plain = await attached(broker, 'plain')
    const second = await exclusive(broker, 'second')
    for (const peer of [plain, first]) await peer.ask(UP.detach, 0)
    const later = await attached(broker, 'later')
    expect(await codeOf(later.append({ sequence: 0 }, message('x')))).toBe('FENCED')
    expect(await codeOf(second.append({ sequence: 0 }, message('x')))).toBe('ok')
  })
})

describe.each([
  ['the journal', false],
  ['its head', true],
])('after a restart that finds the topic in %s', (_, dormant) => {
  test('a stale writer is told behind its reply, is refused, and nothing of it lands', async () => {
    let broker = await TestBroker.start({ residencyIdleMs: 100 })
    const stale = await exclusive(broker, 'stale')
    await stale.append({ sequence: 0 }, message('old'))
    await openStream(stale, 1)
    await broker.drop(stale)
    const holder = await exclusive(broker, 'holder')
    await holder.append({ sequence: 0 }, message('new'))
    await broker.drop(holder)
    if (dormant) await broker.dormant()
    broker = await broker.kill()
    const back = await broker.peer()
    const attach = back.attach('a', { producer: 'stale', fence: 1 })
    expect(await codeOf(back.append({ sequence: 2, fence: 1 }, token('s', 'stale')))).toBe('FENCED')
    expect(await attach).toMatchObject({ fence: 1, producer: { sequence: 1 } })
    await back.notice('fenced')
    expect(back.notices).toEqual([fenced(2)])
    expect((await back.ask(UP.stream, 0, 's')).stream?.live).toBe(false)
    const again = await attached(broker, 'holder', { fence: 2 })
    const plain = await attached(broker, 'plain')
    expect(await codeOf(plain.append({ sequence: 0 }, message('plain')))).toBe('FENCED')
    expect(await codeOf(again.append({ sequence: 1 }, message('newer')))).toBe('ok')
    const reading = await plain.read({ start: true })
    await plain.until(() => reading.messages.length === 3)
    expect(reading.messages).toEqual(['text:old', 'text:new', 'text:newer'])
  })
})

describe('a stream whose writer is shut out', () => {
  test('is continued by the holder at once', async () => {
    const broker = await TestBroker.start()
    const plain = await attached(broker, 'plain')
    await openStream(plain, 0)
    const holder = await exclusive(broker, 'holder')
    expect((await holder.ask(UP.stream, 0, 's')).stream).toMatchObject({ state: 'open', live: false })
    const { fence } = await openStream(holder, 0, 'join')
    expect(fence).toBe(1)
    expect(await codeOf(plain.append({ sequence: 1, fence: 0 }, token('s', 'stale')))).toBe('FENCED')
    await holder.append({ sequence: 1, fence: 1 }, token('s', 'on'), streamEnd('done', 's'))
  })

  test('is lost after the grace, whether or not its writer is there or comes back', async () => {
    const broker = await TestBroker.start({ streamGraceMs: 10_000 })
    const plain = await attached(broker, 'plain')
    await openStream(plain, 0)
    const holder = await exclusive(broker, 'holder')
    const reading = await holder.read({ start: true })
    const back = await attached(broker, 'plain', { fence: 0 })
    // A repeat of its opening makes it the writer no more than its attaching does.
    expect((await openStream(back, 0)).fence).toBe(0)
    await broker.clock.advance(9900)
    await holder.roundTrip()
    expect(reading.states('s')).toEqual(['open'])
    await broker.clock.advance(200)
    await holder.until(() => reading.states('s').length === 2)
    for (let turns = 0; turns < 20; turns++) await turn()
    await attached(broker, 'plain', { fence: 0 })
    await holder.roundTrip()
    expect(reading.states('s')).toEqual(['open', 'lost'])
  })
})
