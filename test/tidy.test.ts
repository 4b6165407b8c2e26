/** Holds the code to the tidy rules, and proves that each rule can fail. */

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { integrationsApart, PEERS } from './tidy/integrations.ts'
import {
  ALL_FOLDERS,
  browserFolders,
  fileSize,
  folderArrows,
  functionSize,
  noAny,
  noCycles,
  noMessageMatching,
  onePlacePerPackage,
  onlyClocksKnowTheTime,
  openingComment,
  PACKAGES,
  RULES,
  type Rule,
} from './tidy/rules.ts'
import { parseSources, readFiles } from './tidy/source.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

type Packages = Readonly<Record<'dependencies' | 'peerDependencies' | 'peerDependenciesMeta', object>>

describe('the code', () => {
  const { dependencies, ...peers } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8')) as Packages
  const sources = parseSources(readFiles(root, ALL_FOLDERS))

  for (const [promise, rule] of Object.entries(RULES)) {
    it(`is tidy: ${promise}`, () => {
      expect(rule(sources)).toEqual([])
    })
  }

  it('is tidy: every dependency is imported in one place', () => {
    expect(onePlacePerPackage(Object.keys(dependencies))(sources)).toEqual([])
    expect(Object.keys(dependencies).sort()).toEqual(Object.keys(PACKAGES).sort())
  })

  it('is tidy: frameworks stay in the folders of their integrations, and are optional', () => {
    expect(integrationsApart(sources)).toEqual([])
    expect(Object.keys(peers.peerDependencies).sort()).toEqual(Object.keys(PEERS).sort())
    expect(Object.keys(peers.peerDependenciesMeta).sort()).toEqual(Object.keys(PEERS).sort())
  })
})

/** What a rule says of files in memory. */
const told = (rule: Rule, files: Record<string, string>): string[] => rule(parseSources(files))

/** The rule accepts the first files, and refuses the second in a sentence that has the words given. */
function proves(rule: Rule, good: Record<string, string>, bad: Record<string, string>, ...words: string[]): void {
  expect(told(rule, good)).toEqual([])
  const found = told(rule, bad)
  expect(found).toHaveLength(1)
  for (const word of words) expect(found[0]).toContain(word)
}

const lines = (count: number, line = '// x\n'): string => line.repeat(count)

describe('the tidy rules refuse', () => {
  it('a file of more than 400 lines, or a test of more than 600', () => {
    proves(fileSize, { 'client/a.ts': lines(400) }, { 'client/a.ts': lines(401) }, 'client/a.ts has 401 lines', 'move')
    proves(fileSize, { 'test/a.test.ts': lines(600) }, { 'test/a.test.ts': lines(601) }, 'at most 600')
  })

  it('a function of more than 70 lines, of any kind', () => {
    const kinds = [
      (body: string) => `function f() {\n${body}}\n`,
      (body: string) => `const é = 'é𝄞'\nexport const f = async () => {\n${body}}\n`,
      (body: string) => `class A {\n  f() {\n${body}}\n}\n`,
      (body: string) => `const o = {\n  get f() {\n${body}}\n}\n`,
    ]
    for (const kind of kinds) {
      const [good, bad] = [kind(lines(68)), kind(lines(69))]
      proves(functionSize, { 'broker/a.ts': good }, { 'broker/a.ts': bad }, 'function of 71 lines', 'steps')
    }
  })

  it('a long function in a test, but not one that holds tests', () => {
    const suite = (call: string): string => `${call} {\n${lines(100)}it('y', () => {})\n})\n`
    proves(
      functionSize,
      {
        'test/a.test.ts': suite("describe('x', () =>") + suite("describe.each([1])('x', () =>") + suite('suite(() =>'),
      },
      { 'test/a.test.ts': `describe('x', () => {\n  it('y', () => {\n${lines(100)}})\n})\n` },
      'test/a.test.ts:2',
    )
    expect(told(functionSize, { 'broker/a.ts': suite("describe('x', () =>") })).toHaveLength(1)
  })

  it('a file that does not open with a comment', () => {
    const good = {
      'client/a.ts': '/** Why. */\n',
      'client/b.ts': '// Why.\n',
      'broker/cli/c.ts': '#!/usr/bin/env x\n// Why\n',
    }
    proves(openingComment, good, { 'client/a.ts': "import x from './x.ts'\n// late\n" }, 'client/a.ts', 'why')
  })

  it('any', () => {
    proves(
      noAny,
      { 'client/a.ts': "const any: unknown = 'any'\n" },
      { 'client/a.ts': '\nconst x = 1 as any\n' },
      'a.ts:2',
    )
  })

  it('an import cycle, through types and re-exports too', () => {
    const good = {
      'client/a.ts': "import './b.ts'\nimport './c.ts'",
      'client/b.ts': "export * from './c.ts'",
      'client/c.ts': '',
    }
    const bad = { ...good, 'client/c.ts': "import type { A } from './a.ts'" }
    proves(noCycles, good, bad, 'client/a.ts -> client/b.ts -> client/c.ts -> client/a.ts', 'move')
    proves(noCycles, {}, { 'client/a.ts': "export { a } from './a.ts'" }, 'client/a.ts -> client/a.ts')
  })

  it('an import against the arrows', () => {
    const good = {
      'storage/leveldb/a.ts': "import '../../protocol/index.ts'",
      'broker/a.ts': "import '../protocol/index.ts'\nimport '../storage/index.ts'\nimport './ws/b.ts'",
      'broker/cli/a.ts': "import '../../client/index.ts'",
      'client/a.ts': "import '../protocol/index.ts'",
      'test/a.ts': "import '../broker/ws/b.ts'",
      'bench/a.ts': "import '../client/link.ts'",
    }
    const against = [
      ['protocol/a.ts', '../storage/index.ts', 'no other folder'],
      ['storage/a.ts', '../broker/index.ts', 'may import protocol'],
      ['client/a.ts', '../broker/index.ts', 'may import protocol'],
      ['client/demo/a.ts', '../../storage/index.ts', 'may import protocol'],
      ['broker/a.ts', '../client/index.ts', 'may import protocol, storage;'],
      ['broker/ws/a.ts', '../../client/index.ts', 'may import protocol, storage;'],
      ['broker/a.ts', '../test/index.ts', 'may import'],
    ] as const
    for (const [path, target, words] of against)
      proves(folderArrows, good, { [path]: `import '${target}'` }, path, words)
  })

  it('an import across folders that goes past index.ts', () => {
    const past = [
      ['broker/a.ts', '../protocol/record.ts', 'protocol/index.ts'],
      ['broker/a.ts', '../storage/leveldb/index.ts', 'storage/index.ts'],
      ['broker/cli/a.ts', '../../client/link.ts', 'client/index.ts'],
    ] as const
    for (const [path, target, words] of past) proves(folderArrows, {}, { [path]: `import('${target}')` }, words)
  })

  it('a package that is imported twice, elsewhere or nowhere', () => {
    const rule = onePlacePerPackage(['level'])
    const good = { 'storage/leveldb/a.ts': "import { Level } from 'level'", 'test/a.ts': "import 'level'" }
    proves(rule, good, { ...good, 'storage/leveldb/b.ts': "import 'level'" }, 'a.ts and storage/leveldb/b.ts')
    proves(rule, good, { ...good, 'broker/a.ts': "await import('level')" }, 'broker/a.ts imports level', 'storage')
    proves(rule, good, {}, 'no file of', 'package.json')
    proves(rule, good, { ...good, 'client/a.ts': "import type { X } from 'level/x'" }, 'client/a.ts')
    expect(told(onePlacePerPackage(['left-pad']), {})[0]).toContain('without a place')
  })

  it('ws outside broker/ws and the one file of the client', () => {
    const rule = onePlacePerPackage(['ws'])
    const good = { 'broker/ws/server.ts': "import 'ws'", 'client/websocket-node.ts': "import 'ws'" }
    proves(rule, good, { ...good, 'client/link.ts': "import 'ws'" }, 'client/link.ts imports ws')
    proves(rule, good, { ...good, 'broker/ws/socket.ts': "import 'ws'" }, 'broker/ws/server.ts and broker/ws/socket.ts')
    proves(rule, good, { 'broker/ws/server.ts': "import 'ws'" }, 'no file of', 'client')
  })

  it('Node in what runs in a browser', () => {
    const good = {
      'broker/a.ts': "import 'node:fs'",
      'client/demo/a.ts': "import 'node:fs'",
      'client/websocket.ts': '',
    }
    proves(browserFolders, good, { 'protocol/a.ts': "import 'node:buffer'" }, 'protocol/a.ts:1', 'browser')
  })

  it('the time outside clock.ts', () => {
    const clock = 'export const c = { now: () => Date.now(), setTimeout: (f: () => void) => setTimeout(f, 1) }'
    const uses =
      'interface C { setTimeout(f: unknown): void }\nclock.setTimeout(f)\nnew Date(0)\nclock.now()\nDate.parse(x)'
    const good = { 'broker/clock.ts': clock, 'client/a.ts': uses, 'client/demo/a.ts': clock, 'bench/a.ts': clock }
    const wrong = [
      ...['setTimeout(f, 1)', 'f(setTimeout)', 'x = { setTimeout }', 'globalThis.setTimeout(f)', 'setInterval(f, 1)'],
      ...['Date.now()', 'performance.now()', 'new Date()', 'process.hrtime.bigint()', "import 'node:timers/promises'"],
    ]
    for (const text of wrong) proves(onlyClocksKnowTheTime, good, { 'storage/a.ts': text }, 'storage/a.ts:1', 'Clock')
  })

  it('an error that is matched by its message', () => {
    const good = {
      'client/a.ts': 'f(error.message)\nif (kind === KIND.message) g(1 + error.message)\nlist.includes(x)',
    }
    const wrong = [
      ...["error.message.includes('x')", "(error as Error).message.startsWith('x')", "error?.message.match('x')"],
      ...["error.message === 'x'", "'x' != error.message", '/x/.test(error.message)', "e.message?.endsWith('x')"],
    ]
    for (const text of wrong) proves(noMessageMatching, good, { 'client/a.ts': text }, 'client/a.ts:1', 'code')
  })

  it('a framework outside its integration, and an integration that the core needs or that passes the public client by', () => {
    const good = {
      'client/ag-ui/index.ts':
        "import type { E } from '@ag-ui/core'\nimport { connect } from '../index.ts'\nimport './b.ts'",
      'client/ag-ui/b.ts': '',
      'client/index.ts': "import './session.ts'",
      'client/session.ts': '',
      'client/a2a/index.ts': '',
    }
    const refuses = (path: string, text: string, ...words: string[]): void =>
      proves(integrationsApart, good, { ...good, [path]: text }, path, ...words)
    refuses('client/session.ts', "import 'ai'", 'only client/ai-sdk may')
    refuses('client/session.ts', "import './ag-ui/index.ts'", 'the core knows no framework')
    refuses('client/ag-ui/b.ts', "import '../session.ts'", 'client/index.ts')
    refuses('client/ag-ui/b.ts', "import '../a2a/index.ts'", 'client/index.ts')
    refuses('client/ag-ui/b.ts', "import '@a2a-js/sdk/server'", 'only client/a2a may')
  })
})
