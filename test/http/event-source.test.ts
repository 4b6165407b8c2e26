/**
 * What an EventSource makes of it, of the npm package and of Chromium: through broken connections no token is lost, doubled or
 * reordered, a page of another origin can read, and one that has been told the end does not come back. About 20 s.
 */

import { existsSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { EventSource } from 'eventsource'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { UP } from '../../protocol/index.ts'
import { afterwards, message, streamEnd, TestBroker, tempDir, token, tokens } from '../broker/brokers.ts'
import type { Peer } from '../broker/peer.ts'
import { eventually } from '../broker/virtual-clock.ts'
import { CutProxy } from './cut-proxy.ts'
import { recordsOf, textOf } from './event-reader.ts'

const NAME = 'support/ticket-42'
const CHROMIUM = '/usr/bin/chromium'
const EVENTS = [
  ...['message', 'token', 'context', 'checkpoint', 'stream', 'live'],
  ...['trimmed', 'recreated', 'gone', 'diverged', 'closed', 'goaway', 'problem'],
]

interface Seen {
  readonly event: string
  readonly data: string
  readonly id: string
}

/** What a page has. */
interface InPage {
  readonly EventSource: new (url: string) => PageSource
  source: PageSource
  seen: Seen[]
}

interface PageSource {
  readonly readyState: number
  addEventListener(event: string, listener: (event: { data: string; lastEventId: string }) => void): void
}

/** An EventSource that is open somewhere. */
interface Source {
  seen(): Promise<Seen[]>
  /** Has it given up? */
  isClosed(): Promise<boolean>
}

type Open = (url: string) => Promise<Source>

async function openHere(url: string): Promise<Source> {
  const source = new EventSource(url)
  const seen: Seen[] = []
  for (const event of EVENTS) {
    source.addEventListener(event, ({ data, lastEventId: id }) => seen.push({ event, data, id }))
  }
  afterwards(async () => source.close())
  return { seen: async () => seen, isClosed: async () => source.readyState === source.CLOSED }
}

/** In a page of an origin of its own. */
async function openIn(page: Page, url: string): Promise<Source> {
  await page.evaluate(
    ([address, events]) => {
      const here = globalThis as unknown as InPage
      here.seen = []
      here.source = new here.EventSource(address)
      for (const event of events) {
        here.source.addEventListener(event, ({ data, lastEventId: id }) => here.seen.push({ event, data, id }))
      }
    },
    [url, EVENTS] as const,
  )
  afterwards(() => page.close())
  const seen: Seen[] = []
  const next = (from: number) => page.evaluate((at) => (globalThis as unknown as InPage).seen.slice(at), from)
  return {
    async seen() {
      seen.push(...(await next(seen.length)))
      return seen
    },
    isClosed: () => page.evaluate(() => (globalThis as unknown as InPage).source.readyState === 2),
  }
}

/** Two streams at once, in small appends and large ones, read by whoever has opened the URL; the proxy breaks it in the middle. */
async function followThroughCuts(open: Open, query: string): Promise<void> {
  const broker = await TestBroker.start({ dataDir: await tempDir(), allowOrigins: ['*'] })
  const proxy = await CutProxy.start(broker.broker.port)
  const writer = await broker.peer()
  await writer.attach(NAME, { producer: 'p' })
  await writer.append({ sequence: 0 }, message('question'))
  const source = await open(`${proxy.url}/v1/events/${NAME}${query}`)
  const has = (name: string) => async () => (await source.seen()).some(({ event }) => event === name)
  await eventually(has('live'))
  const expected = await writeThroughCuts(writer, proxy, source)
  await eventually(async () => recordsOf(await source.seen()).some(({ state }) => state === 'done'))
  const seen = await source.seen()
  const records = recordsOf(seen)
  for (const id of ['a', 'b']) expect(textOf(records, id)).toBe(expected[id])
  const once = records.filter(({ kind }) => kind !== 'token').map(({ offset }) => offset)
  expect(new Set(once).size).toBe(once.length)
  const ids = seen.map(({ id }) => id)
  expect(ids).toEqual([...ids].sort())
  expect(proxy.cuts).toBe(4)
  expect(proxy.opened).toBe(5)
}

/** Resolves with the text of each stream. */
async function writeThroughCuts(writer: Peer, proxy: CutProxy, source: Source): Promise<Record<string, string>> {
  let sequence = 1
  const expected: Record<string, string> = { a: '', b: '' }
  const fences: Record<string, number> = {}
  for (const id of ['a', 'b']) {
    fences[id] = (await writer.ask(UP.openStream, 0, 0, sequence++, id, 'create')).fence as number
  }
  const write = async (id: string, ...values: string[]): Promise<void> => {
    expected[id] += values.join('')
    await writer.append({ sequence: sequence++, fence: fences[id] }, ...tokens(id, ...values))
  }
  const some = async (from: number): Promise<void> => {
    for (let i = from; i < from + 50; i++) {
      await write('a', `a${i}\n`, '"ü😀";')
      await write('b', `b${i} `)
    }
  }
  for (const [round, bytes] of [1, 2000, 0, 5001].entries()) {
    const { cuts, opened } = proxy
    if (bytes > 0) proxy.cutAfter(bytes)
    await some(round * 1000)
    if (bytes === 0) proxy.cut()
    await eventually(() => proxy.cuts > cuts)
    // While nobody reads.
    await some(round * 1000 + 500)
    await eventually(() => proxy.opened > opened)
    const text = expected.b as string
    await eventually(async () => textOf(recordsOf(await source.seen()), 'b').length >= text.length)
  }
  await write('a', 'the end')
  await writer.append({ sequence: sequence++, fence: fences.a }, token('a', '.'), streamEnd('done', 'a'))
  expected.a += '.'
  return expected
}

/** It is told once what has become of the topic, and stays away then. */
async function giveUpWhenGone(open: Open): Promise<void> {
  const broker = await TestBroker.start({ allowOrigins: ['*'] })
  const proxy = await CutProxy.start(broker.broker.port)
  const writer = await broker.peer()
  await writer.attach(NAME, { producer: 'p' })
  const source = await open(`${proxy.url}/v1/events/${NAME}`)
  await eventually(async () => (await source.seen()).length > 0)
  proxy.cut()
  await writer.ask(UP.delete, NAME, null)
  await eventually(() => source.isClosed())
  expect((await source.seen()).map(({ event }) => event)).toEqual(['live', 'gone'])
  expect(proxy.opened).toBe(3)
}

/** It comes back by itself, from where it was, when the broker is there again. */
async function surviveRestart(open: Open): Promise<void> {
  const broker = await TestBroker.start({ allowOrigins: ['*'] })
  const { port } = broker.broker
  const writer = await broker.peer()
  await writer.attach(NAME, { producer: 'p' })
  await writer.append({ sequence: 0 }, message('before'))
  const source = await open(`http://127.0.0.1:${port}/v1/events/${NAME}`)
  const texts = async () => recordsOf(await source.seen()).map(({ text }) => text)
  await eventually(async () => (await texts()).length === 1)
  const again = await broker.restart({ port })
  const writerAgain = await again.peer()
  await writerAgain.attach(NAME, { producer: 'p' })
  await writerAgain.append({ sequence: 1 }, message('behind'))
  await eventually(async () => (await texts()).length === 2)
  expect(await texts()).toEqual(['before', 'behind'])
  expect((await source.seen()).map(({ event }) => event)).toContain('goaway')
}

function behaves(open: Open): void {
  const timeout = 120_000
  test.each(['', '?raw=true'])('reads two streams through broken connections: %s', { timeout }, (query) => {
    return followThroughCuts(open, query)
  })
  test('is told that the topic is gone, and stays away', { timeout }, () => giveUpWhenGone(open))
  test('comes back to a broker that was restarted', { timeout }, () => surviveRestart(open))
}

describe('the EventSource of npm', () => behaves(openHere))

const isThere = existsSync(CHROMIUM)
if (!isThere) console.log(`${CHROMIUM} is not installed: event streams are not tested with a browser`)

describe.skipIf(!isThere)('the EventSource of Chromium, in a page of another origin,', () => {
  let browser: Browser
  let origin: string
  const pages = createServer((_request, response) => {
    response.setHeader('content-type', 'text/html')
    response.end('<!doctype html><title>a page</title>')
  })

  beforeAll(async () => {
    await new Promise<void>((resolve) => pages.listen(0, '127.0.0.1', resolve))
    origin = `http://127.0.0.1:${(pages.address() as AddressInfo).port}`
    const args = process.getuid?.() === 0 ? ['--no-sandbox'] : []
    browser = await chromium.launch({ executablePath: CHROMIUM, args })
  })

  afterAll(async () => {
    await browser?.close()
    pages.close()
  })

  behaves(async (url) => {
    const page = await browser.newPage()
    await page.goto(origin)
    return openIn(page, url)
  })
})
