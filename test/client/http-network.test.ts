/**
 * The client over HTTP where connections break at any byte: with Node's fetch, and in Chromium, in a page of another origin than the
 * broker's. Each writes a stream and reads it back. Some 10 s; Chromium is left out where it is not installed.
 */

import { existsSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { chromium } from 'playwright-core'
import { expect, onTestFinished, test } from 'vitest'
import { connect } from '../../client/index.ts'
import { TestBroker } from '../broker/brokers.ts'
import { eventually } from '../broker/virtual-clock.ts'
import { CutProxy } from '../http/cut-proxy.ts'

const CHROMIUM = '/usr/bin/chromium'
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** Of what the broker says, so many bytes arrive between one cut and the next: within a head, a size, a message. */
const CUTS = [1, 150, 333, 700, 1001]
const TOKENS = 200

/** Where a client is asked to write a stream and to read it. */
interface Here {
  readonly connect: typeof connect
}

interface InPage {
  readonly run: typeof writeAndRead
  readonly litetopic: Here
}

/** Runs in Node and in the page: it may use nothing but what it is given. */
async function writeAndRead({ connect }: Here, [url, count]: readonly [string, number]): Promise<string[]> {
  const broker = connect(url, { reconnect: { minMs: 1, maxMs: 20 }, token: 'secret' })
  const session = await broker.session('a')
  const stream = await session.openStream('s')
  const writing = (async () => {
    for (let i = 0; i < count; i++) {
      stream.write(`t${i} `)
      if (i % 4 === 0) await stream.flush()
    }
    await stream.end()
  })()
  const tokens: string[] = []
  for await (const record of session.records({ raw: true })) {
    if (record.kind === 'token') tokens.push(record.text ?? '')
    if (record.kind === 'stream' && record.state === 'done') break
  }
  await writing
  await broker.close()
  return tokens
}

async function throughCuts(run: (url: string) => Promise<string[]>): Promise<void> {
  const { broker } = await TestBroker.start({ allowOrigins: ['*'] })
  const proxy = await CutProxy.start(broker.port)
  const reading = run(proxy.url)
  let over = false
  const ended = reading.finally(() => {
    over = true
  })
  for (const bytes of CUTS) {
    const { cuts } = proxy
    proxy.cutAfter(bytes)
    await eventually(() => over || proxy.cuts > cuts)
  }
  expect(await ended).toEqual(Array.from({ length: TOKENS }, (_, i) => `t${i} `))
  expect(proxy.cuts).toBe(CUTS.length)
}

test('no token is lost, doubled or reordered over HTTP wherever its connections break', () =>
  throughCuts((url) => writeAndRead({ connect }, [url, TOKENS])))

test.skipIf(!existsSync(CHROMIUM))(
  'nor in Chromium, in a page of another origin',
  async () => {
    const bundle = await build({
      absWorkingDir: ROOT,
      entryPoints: ['client/index.ts'],
      bundle: true,
      platform: 'browser',
      format: 'iife',
      globalName: 'litetopic',
      write: false,
      logLevel: 'silent',
    })
    const page = createServer((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/html' })
      response.end(`<!doctype html><script>${bundle.outputFiles[0]?.text}\nglobalThis.run = ${writeAndRead}</script>`)
    })
    await new Promise<void>((resolve) => page.listen(0, '127.0.0.1', resolve))
    const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] })
    onTestFinished(async () => {
      await browser.close()
      page.close()
    })
    await throughCuts(async (url) => {
      const tab = await browser.newPage()
      await tab.goto(`http://127.0.0.1:${(page.address() as AddressInfo).port}/`)
      return tab.evaluate(
        (given) => {
          const { run, litetopic } = globalThis as unknown as InPage
          return run(litetopic, given)
        },
        [url, TOKENS] as const,
      )
    })
  },
  60_000,
)
