/** The demo's copy of its input, and the comparison it rests on. */

import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { firstDifference, PartFiles, readSpool, spoolTokens } from '../../client/demo/spool.ts'
import type { Token } from '../../client/demo/tokens.ts'

const TOKENS: Token[] = [
  { part: 'text', text: 'Grüße,\n' },
  { part: 'tool:1', text: '{"a":' },
  { part: 'text', text: ' "Welt" 👋' },
  { part: 'tool:1', text: '1}' },
]

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'litetopic-spool-'))
})
afterEach(() => rm(directory, { recursive: true }))

async function* each(tokens: readonly Token[]): AsyncGenerator<Token> {
  yield* tokens
}

test('a spool gives the tokens back, from any one on', async () => {
  const spool = await spoolTokens(each(TOKENS), directory)
  for (const skip of [0, 1, 4]) {
    const found: Token[] = []
    for await (const token of readSpool(spool.tokensPath, skip)) found.push(token)
    expect(found).toEqual(TOKENS.slice(skip))
  }
})

test('a spool knows its tokens, bytes and parts in order of appearance', async () => {
  const spool = await spoolTokens(each(TOKENS), directory)
  expect(spool.tokens).toBe(4)
  expect(spool.bytes).toBe(Buffer.byteLength(TOKENS.map(({ text }) => text).join('')))
  expect(Object.keys(spool.parts)).toEqual(['text', 'tool:1'])
  expect(await readFile(spool.parts.text?.path ?? '', 'utf8')).toBe('Grüße,\n "Welt" 👋')
})

test('parts that are the same have no difference, and others differ at the first byte that does', async () => {
  const file = async (name: string, text: string) => {
    const files = new PartFiles(join(directory, name))
    await files.add({ part: 'text', text })
    return (await files.flush()).text
  }
  const long = 'x'.repeat(300_000)
  const one = await file('one', `${long}abc`)
  expect(await firstDifference(one, await file('same', `${long}abc`))).toBeUndefined()
  expect(await firstDifference(one, await file('other', `${long}aXc`))).toBe(300_001)
  expect(await firstDifference(one, await file('shorter', `${long}a`))).toBe(300_001)
  expect(await firstDifference(one, undefined)).toBe(0)
  expect(await firstDifference(undefined, undefined)).toBeUndefined()
})
