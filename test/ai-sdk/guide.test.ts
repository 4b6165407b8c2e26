/**
 * The guide's samples, as they stand: its route handlers and its server in Node, its page in Chromium. Sent, loaded again in the middle,
 * shown in two tabs, stopped in both. Some 10 s; without Chromium the page is left out.
 */

import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { ToolSet, UIMessage, UIMessageChunk } from 'ai'
import { transform } from 'esbuild'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import * as integration from '../../client/ai-sdk/index.ts'
import { eventually } from '../broker/virtual-clock.ts'
import { client, collect, serve } from './broker.ts'
import { bundled, sampleOf } from './guide.ts'
import { Gate, recordedModel, recording } from './model.ts'

const CHROMIUM = '/usr/bin/chromium'
const MODULES = fileURLToPath(new URL('../../node_modules/', import.meta.url))
const PAGE = fileURLToPath(new URL('page.ts', import.meta.url))
const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor as FunctionConstructor

/** What the guide's reader has beside the samples. */
interface App {
  readonly gate: Gate
  readonly saved: UIMessage[][]
  readonly model: unknown
  readonly save: (id: string, messages: UIMessage[]) => void
  readonly tools: ToolSet
}
const APP = { 'lib/app.ts': 'export const { model, save, tools } = globalThis.app' }
/** The handlers as Next.js finds them, served by the guide's server. */
const NEXT = {
  'server.ts': sampleOf('server.ts').replace('./lib/chat.ts', './next.ts'),
  'next.ts': `export { POST } from './app/api/chat/route.ts'
    export { GET, DELETE } from './app/api/chat/[id]/stream/route.ts'`,
}

type Pages = Readonly<Record<string, string>>

/** The guide's server, and pages beside it: `/` reads over the route, `/direct` from the broker. */
async function start(modules: Readonly<Record<string, string>>, pages: Pages): Promise<{ app: App; url: string }> {
  const server = await serve()
  const gate = new Gate()
  const saved: UIMessage[][] = []
  const app: App = {
    gate,
    saved,
    model: recordedModel(gate),
    save: (_, messages) => void saved.push(messages),
    tools: {},
  }
  Object.assign(globalThis, { app })
  Object.assign(process.env, { LITETOPIC_URL: server.url, PORT: '0' })
  const samples = await samplesServer({ ...APP, ...modules })
  const front = createServer((request, response) => {
    const page = pages[request.url ?? '']
    if (page === undefined) return void samples.emit('request', request, response)
    response.setHeader('content-type', 'text/html')
    const given = `initial = ${JSON.stringify(app.saved.at(-1) ?? [])}; broker = ${JSON.stringify(server.url)}`
    response.end(
      `<!doctype html><meta charset=utf-8><link rel=icon href=data:,><body><script>${given}</script><script>${page}</script>`,
    )
  })
  await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    front.closeAllConnections()
    front.close()
  })
  return { app, url: `http://127.0.0.1:${(front.address() as AddressInfo).port}` }
}

async function samplesServer(modules: Readonly<Record<string, string>>): Promise<Server> {
  const external = ['ai', 'ws', '@noble/hashes/*', 'msgpackr']
  const code = await bundled("export { server } from 'guide:server.ts'", modules, {
    ...{ platform: 'node', format: 'esm', external },
  })
  const directory = await mkdtemp(join(MODULES, '.litetopic-guide-'))
  const file = join(directory, 'server.mjs')
  await writeFile(file, code)
  const { server } = (await import(pathToFileURL(file).href)) as { server: Server }
  onTestFinished(async () => {
    server.close()
    await rm(directory, { recursive: true })
  })
  return server
}

const DIRECT = "chatTransport({ broker: connect(globalThis.broker) }); import { connect } from 'litetopic'"

async function pageOf(transport: string): Promise<string> {
  const chat = sampleOf('chat.tsx').replace('chatTransport()', transport)
  const entry = `import { Chat } from 'guide:chat.tsx'
    import { mount } from './page.ts'
    mount(Chat, { id: '1', initial: globalThis.initial })`
  const modules = { 'chat.tsx': chat, '@ai-sdk/react': `export { useChat } from ${JSON.stringify(PAGE)}` }
  const code = await bundled(entry, modules, { platform: 'browser', format: 'iife' })
  return code.replaceAll('</script', '<\\/script')
}

const words = async (): Promise<string> =>
  (await collect(recording())).map(({ part, text }) => (part === 'text' ? text : '')).join('')
const REASONING_TOKENS = 30
const TEXT_TOKENS = 13

const isThere = existsSync(CHROMIUM)
if (!isThere) console.log(`${CHROMIUM} is not installed: the guide's page is not tested`)

describe.skipIf(!isThere)('the page of the guide, in Chromium,', () => {
  let browser: Browser
  let pages: Pages

  beforeAll(async () => {
    pages = { '/': await pageOf('chatTransport()'), '/direct': await pageOf(DIRECT) }
    const args = process.getuid?.() === 0 ? ['--no-sandbox'] : []
    browser = await chromium.launch({ executablePath: CHROMIUM, args })
  })

  afterAll(() => browser?.close())

  const open = async (url: string): Promise<Page> => {
    const page = await browser.newPage()
    onTestFinished(() => page.close())
    await page.goto(url)
    return page
  }
  const shown = async (page: Page): Promise<string> => (await page.locator('p').allTextContents()).slice(1).join('')
  const status = (page: Page): Promise<string | null> => page.locator('output').textContent()

  it.each([
    ['Next.js', NEXT],
    ['Node', {}],
  ])(
    'with the handlers of %s, comes back in the middle, and stops in both tabs',
    { timeout: 120_000 },
    async (_, modules) => {
      const { app, url } = await start(modules, pages)
      const [one, two] = [await open(`${url}/`), await open(`${url}/direct`)]
      app.gate.release(REASONING_TOKENS + 5)
      await one.getByText('Send').click()
      await eventually(async () => (await shown(one)) !== '')
      await Promise.all([one.reload(), two.reload()])
      for (const tab of [one, two]) await eventually(async () => (await shown(tab)) !== '')
      const before = await shown(two)
      app.gate.release(3)
      for (const tab of [one, two]) await eventually(async () => (await shown(tab)).length > before.length)
      app.gate.release(TEXT_TOKENS - 8)
      for (const tab of [one, two]) {
        await eventually(async () => (await status(tab)) === 'ready')
        expect(await shown(tab)).toBe(await words())
      }
      await eventually(() => app.saved.length === 2)
      expect(app.saved[1]).toMatchObject([{ role: 'user' }, { role: 'assistant' }])

      app.gate.release(REASONING_TOKENS + 5)
      await one.getByText('Send').click()
      await eventually(async () => (await status(one)) === 'streaming')
      await two.reload()
      await eventually(async () => (await status(two)) === 'streaming')
      await two.getByText('Stop').click()
      for (const tab of [one, two]) await eventually(async () => (await status(tab)) === 'ready')
      await eventually(() => app.saved.length === 4)
      expect(app.saved[3]).toHaveLength(4)
    },
  )
})

it('the pieces of the guide make an answer, and give it back in every way', async () => {
  const session = await client(await serve()).session('chat/1')
  const chunks: UIMessageChunk[] = [
    { type: 'start', messageId: 'm' },
    { type: 'text-start', id: 't' },
    ...['one ', 'two ', 'three'].map((delta) => ({ type: 'text-delta' as const, id: 't', delta })),
    { type: 'text-end', id: 't' },
  ]
  const answer = (): ReadableStream<UIMessageChunk> => ReadableStream.from(chunks)
  const given = { ...integration, session, answer, seen: [], request: new Request('http://app.test') }
  const sample = sampleOf('pieces.ts').replace(/^import .*$/m, '')
  const { code } = await transform(
    `async function sample() {${sample}\nreturn { message, end, chunks, raw, rest, response }}`,
    {
      loader: 'ts',
    },
  )
  const run = new AsyncFunction(...Object.keys(given), `${code}; return sample()`)
  const got = (await run(...Object.values(given))) as Record<string, ReadableStream<UIMessageChunk>> & {
    response: Response
  }
  expect(got).toMatchObject({ end: 'done', message: { parts: [{ text: 'one two three' }] } })
  expect(await collect(got.raw as ReadableStream)).toEqual(chunks)
  const together = { type: 'text-delta', id: 't', delta: 'one two three' }
  expect(await collect(got.chunks as ReadableStream)).toEqual([chunks[0], chunks[1], together, chunks.at(-1)])
  expect(await collect(got.rest as ReadableStream)).toEqual([chunks.at(-1)])
  expect(await got.response.text()).toContain('data: {"type":"text-delta","id":"t","delta":"one two three"}\n\n')
})
