/** The client as a browser gets it: bundled, without Node, and it runs. */

import { builtinModules } from 'node:module'
import { fileURLToPath } from 'node:url'
import { createContext, runInContext } from 'node:vm'
import { gzipSync } from 'node:zlib'
import { type BuildResult, build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { startBroker } from '../../broker/index.ts'
import type { connect } from '../../client/index.ts'
import packageJson from '../../package.json' with { type: 'json' }
import { UP, writeMessage } from '../../protocol/index.ts'
import { Peer } from './peer.ts'
import { httpAddressOf } from './transport.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** What a page must load: some 50 KB now, of which the msgpack codec is a quarter, and the way over HTTP and calls that run once 5 KB. */
const MOST_GZIPPED_BYTES = 52 * 1024

/** What pages, workers and edge runtimes have, by the names that the client uses over HTTP. Nothing of Node, and no WebSocket. */
const HTTP_GLOBALS = {
  AbortController,
  AbortSignal,
  ArrayBuffer,
  MessageChannel,
  ReadableStream,
  TextDecoder,
  TextEncoder,
  URL,
  Uint8Array,
  clearTimeout,
  crypto,
  fetch,
  performance,
  queueMicrotask,
  setTimeout,
}

const BROWSER_GLOBALS = { ...HTTP_GLOBALS, WebSocket }

let bundle: BuildResult<{ metafile: true; write: false }>
let peer: Peer

beforeAll(async () => {
  peer = await Peer.start()
  bundle = await build({
    absWorkingDir: ROOT,
    entryPoints: ['client/index.ts'],
    bundle: true,
    platform: 'browser',
    format: 'iife',
    globalName: 'litetopic',
    target: 'es2022',
    minify: true,
    metafile: true,
    write: false,
    logLevel: 'silent',
  })
})

afterAll(() => peer.stop())

describe('the browser bundle', () => {
  it('reaches nothing of Node, and not the ws package', () => {
    const inputs = Object.keys(bundle.metafile.inputs)
    const imports = Object.values(bundle.metafile.inputs).flatMap((input) => input.imports)
    const builtins = new Set(builtinModules.flatMap((name) => [name, `node:${name}`]))
    expect(imports.filter(({ path, external }) => external || builtins.has(path))).toEqual([])
    expect(inputs.filter((path) => path.includes('node_modules/ws/'))).toEqual([])
    expect(inputs).toContain('client/websocket-browser.ts')
    expect(inputs).not.toContain('client/websocket.ts')
    expect(inputs).toContain('client/hash-browser.ts')
    expect(inputs).not.toContain('client/hash.ts')
  })

  it('stays small', () => {
    const { contents } = bundle.outputFiles[0] as { contents: Uint8Array }
    expect(gzipSync(contents).length).toBeLessThan(MOST_GZIPPED_BYTES)
  })

  it('is mapped in the same way once compiled', () => {
    expect(packageJson.browser).toEqual({
      './client/hash.ts': './client/hash-browser.ts',
      './client/websocket.ts': './client/websocket-browser.ts',
      './dist/client/hash.js': './dist/client/hash-browser.js',
      './dist/client/websocket.js': './dist/client/websocket-browser.js',
    })
  })

  it('connects, appends and reads where there is nothing but what a browser has', async () => {
    const context = createContext({ ...BROWSER_GLOBALS })
    runInContext(`${bundle.outputFiles[0]?.text}\nglobalThis.connect = litetopic.connect`, context)
    const broker = (context.connect as typeof connect)(peer.url)
    const session = await broker.session('a')
    const stored = session.append({ hello: 'world' })
    const [entry] = await peer.takeAppends()
    expect(entry?.records).toEqual(['1:{"hello":"world"}'])
    if (entry !== undefined) peer.ack(entry, 0)
    expect((await stored).offset).toBe(0)
    const first = session.records().next()
    const [, request, , subscription] = await peer.take(UP.subscribe)
    peer.reply(request, { next: 0, firstOffset: 0, nextOffset: 1 })
    peer.deliver(subscription, 0, [(out) => writeMessage(out, { tag: 'json', value: '{"hello":"wörld"}' })])
    expect(JSON.stringify((await first).value)).toContain('"value":{"hello":"wörld"}')
    await broker.close()
  })

  it('does the same where there is no WebSocket, at an http address', async () => {
    const server = await startBroker({ port: 0, dataDir: null })
    const context = createContext({ ...HTTP_GLOBALS })
    runInContext(`${bundle.outputFiles[0]?.text}\nglobalThis.connect = litetopic.connect`, context)
    const broker = (context.connect as typeof connect)(httpAddressOf(server))
    const session = await broker.session('a')
    await session.append({ hello: 'wörld' })
    const stream = await session.openStream('s')
    stream.write('token')
    await stream.end()
    const seen: string[] = []
    for await (const record of session.records()) {
      seen.push(record.kind === 'token' ? (record.text ?? '') : record.kind)
      if (record.kind === 'stream' && record.state === 'done') break
    }
    expect(seen).toEqual(['message', 'stream', 'token', 'stream'])
    await broker.close()
    await server.close()
  })
})
