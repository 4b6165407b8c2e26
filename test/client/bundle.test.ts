/** The client as a browser gets it: bundled, without Node, and it runs. */

import { builtinModules } from 'node:module'
import { fileURLToPath } from 'node:url'
import { createContext, runInContext } from 'node:vm'
import { gzipSync } from 'node:zlib'
import { type BuildResult, build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import type { connect } from '../../client/index.ts'
import packageJson from '../../package.json' with { type: 'json' }
import { UP, writeMessage } from '../../protocol/index.ts'
import { Peer } from './peer.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** What a page must load: some 45 KB now, of which the msgpack codec is a quarter. */
const MOST_GZIPPED_BYTES = 48 * 1024

/** What pages and workers have, by the names that the client uses. Nothing of Node. */
const BROWSER_GLOBALS = {
  AbortController,
  AbortSignal,
  ArrayBuffer,
  MessageChannel,
  ReadableStream,
  TextDecoder,
  TextEncoder,
  URL,
  Uint8Array,
  WebSocket,
  clearTimeout,
  crypto,
  performance,
  queueMicrotask,
  setTimeout,
}

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
})
