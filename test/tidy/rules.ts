/** The tidy rules. Each takes all sources and returns what is wrong, as sentences that say what to do. */

import { isNode, lineOf, PRODUCT, type Source, type SyntaxNode, walk } from './source.ts'

export type Rule = (sources: readonly Source[]) => string[]

const FILE_LINES = 400
const TEST_FILE_LINES = 600
const FUNCTION_LINES = 70

/** Which other folders a folder may import, through their index.ts only. bench and test may import everything. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  protocol: [],
  storage: ['protocol'],
  broker: ['protocol', 'storage'],
  client: ['protocol'],
}

/** Arrows of one subfolder beyond those of its folder. */
const MORE_ARROWS: Readonly<Record<string, readonly string[]>> = { 'broker/cli': ['client'] }

/** Subfolders that have an index of their own for other folders: the demo's readers of recordings serve the command line. */
const MORE_INDEXES: readonly string[] = ['client/demo/index.ts']

/** The places of the product where a package is imported, each by exactly one file. */
export const PACKAGES: Readonly<Record<string, readonly RegExp[]>> = {
  level: [/^storage\/leveldb\//],
  msgpackr: [/^protocol\//],
  '@noble/hashes': [/^client\/hash-browser\.ts$/],
  commander: [/^broker\/cli\//],
  fastify: [/^broker\/http\//],
  'prom-client': [/^broker\/observe\//],
  jose: [/^broker\/access\//],
  ws: [/^broker\/ws\//, /^client\/websocket[^/]*\.ts$/],
}

/** Files that may ask what time it is or wait for it. */
const CLOCKS = [/(^|\/)clock\.ts$/, /^client\/demo\//, /^broker\/cli\//, /^bench\//, /^test\//]

/** Files of protocol/ and client/ that never reach a browser. */
const NODE_ONLY = [/^client\/websocket[^/]*\.ts$/, /^client\/hash\.ts$/, /^client\/demo\//]

const top = (path: string): string => path.split('/')[0] as string
const isTest = (source: Source): boolean => top(source.path) === 'test'
const at = (source: Source, node: SyntaxNode): string => `${source.path}:${lineOf(source.text, node.start)}`

export const fileSize: Rule = (sources) =>
  sources.flatMap((source) => {
    const most = isTest(source) ? TEST_FILE_LINES : FILE_LINES
    if (source.lines <= most) return []
    return [`${source.path} has ${source.lines} lines, at most ${most}: move one of its ideas to a file of its own`]
  })

export const functionSize: Rule = (sources) =>
  each(sources, (source, node) => {
    if (!/^(FunctionDeclaration|FunctionExpression|ArrowFunctionExpression)$/.test(node.type)) return
    const lines = lineOf(source.text, node.end) - lineOf(source.text, node.start) + 1
    if (lines <= FUNCTION_LINES || (isTest(source) && declaresTests(node))) return
    return `${at(source, node)} is a function of ${lines} lines, at most ${FUNCTION_LINES}: give its steps names of their own`
  })

export const openingComment: Rule = (sources) =>
  sources
    .filter((source) => !/^(#!.*\n)?(\/\*\*?|\/\/)/.test(source.text))
    .map((source) => `${source.path} opens without a comment: begin it with one that says why the file exists`)

export const noAny: Rule = (sources) =>
  each(sources, (source, node) => {
    if (node.type === 'TSAnyKeyword') return `${at(source, node)} says any: say unknown and check it, or name the type`
    return
  })

/** Cycles of files, type imports included. */
export const noCycles: Rule = (sources) => {
  const byPath = new Map(sources.map((source) => [source.path, source]))
  const state = new Map<string, 'open' | 'done'>()
  const found: string[] = []
  const visit = (path: string, trail: readonly string[]): void => {
    if (state.get(path) === 'done') return
    if (state.get(path) === 'open') {
      const cycle = [...trail.slice(trail.indexOf(path)), path].join(' -> ')
      found.push(`${cycle} is an import cycle: move what both sides need to a file that imports neither`)
      return
    }
    state.set(path, 'open')
    for (const { target } of byPath.get(path)?.imports ?? []) if (target !== undefined) visit(target, [...trail, path])
    state.set(path, 'done')
  }
  for (const source of sources) visit(source.path, [])
  return found
}

export const folderArrows: Rule = (sources) =>
  sources.flatMap((source) => {
    const from = top(source.path)
    const arrows = ARROWS[from]
    if (arrows === undefined) return []
    const sub = source.path.split('/').slice(0, 2).join('/')
    const allowed = [...arrows, ...(MORE_ARROWS[sub] ?? [])]
    return source.imports.flatMap(({ target, line }) => {
      if (target === undefined || top(target) === from) return []
      const place = `${source.path}:${line} imports ${target}`
      if (!allowed.includes(top(target))) {
        return [
          `${place}: ${from}/ may import ${allowed.join(', ') || 'no other folder'}; move the code or turn the arrow`,
        ]
      }
      if (target.split('/')[1] === 'index.ts' || MORE_INDEXES.includes(target)) return []
      return [`${place}: import from ${top(target)}/index.ts, and export there what others may use`]
    })
  })

/** Every dependency is imported in its place, by exactly one file of the product. */
export const onePlacePerPackage =
  (dependencies: readonly string[]): Rule =>
  (sources) =>
    dependencies.flatMap((name) => {
      const places = PACKAGES[name]
      if (places === undefined) return [`${name} is a dependency without a place: name its place in test/tidy/rules.ts`]
      const importers = sources
        .filter((source) => !isTest(source) && top(source.path) !== 'bench' && imports(source, name))
        .map((source) => source.path)
      const stray = importers.filter((path) => !places.some((place) => place.test(path)))
      return [
        ...stray.map(
          (path) => `${path} imports ${name}, which only ${places.join(' and ')} may: use what that file offers`,
        ),
        ...places.flatMap((place) => {
          const there = importers.filter((path) => place.test(path))
          if (there.length === 1) return []
          if (there.length > 1) return [`${there.join(' and ')} import ${name}: let one of them do it for both`]
          return [`no file of ${place} imports ${name}: import it there, or take the package out of package.json`]
        }),
      ]
    })

export const browserFolders: Rule = (sources) =>
  sources.flatMap((source) => {
    if (!/^(protocol|client)\//.test(source.path) || NODE_ONLY.some((place) => place.test(source.path))) return []
    return source.imports
      .filter(({ specifier }) => specifier.startsWith('node:'))
      .map(
        ({ specifier, line }) =>
          `${source.path}:${line} imports ${specifier}: this folder runs in a browser, do without`,
      )
  })

export const onlyClocksKnowTheTime: Rule = (sources) => {
  const timeless = sources.filter((source) => !CLOCKS.some((place) => place.test(source.path)))
  const asks = each(timeless, (source, node, parent, field) => {
    const what = timeSource(node, parent, field)
    if (what === undefined) return
    return `${at(source, node)} uses ${what}: take a Clock, so that tests need no real time`
  })
  const timers = timeless.flatMap((source) =>
    source.imports
      .filter(({ specifier }) => /^(node:)?timers(\/|$)/.test(specifier))
      .map(({ specifier, line }) => `${source.path}:${line} imports ${specifier}: take a Clock instead`),
  )
  return [...asks, ...timers]
}

export const noMessageMatching: Rule = (sources) =>
  each(
    sources.filter((source) => !isTest(source)),
    (source, node) => {
      if (!matchesMessage(node)) return
      return `${at(source, node)} decides by an error's message: compare its code, with isLitetopicError`
    },
  )

/** The rules that need nothing but the sources. */
export const RULES: Readonly<Record<string, Rule>> = {
  'files are short': fileSize,
  'functions are short': functionSize,
  'files open with why they exist': openingComment,
  'nothing is any': noAny,
  'imports have no cycles': noCycles,
  'folders import each other along the arrows, through index.ts': folderArrows,
  'protocol and client run in a browser': browserFolders,
  'only clocks know the time': onlyClocksKnowTheTime,
  'errors are matched by code': noMessageMatching,
}

function each(
  sources: readonly Source[],
  check: (source: Source, node: SyntaxNode, parent: SyntaxNode | undefined, field: string) => string | undefined,
): string[] {
  const found: string[] = []
  for (const source of sources) {
    walk(source.tree, (node, parent, field) => {
      const wrong = check(source, node, parent, field)
      if (wrong !== undefined) found.push(wrong)
    })
  }
  return found
}

function imports(source: Source, name: string): boolean {
  return source.imports.some(({ specifier }) => specifier === name || specifier.startsWith(`${name}/`))
}

/** Does it call `it`, `test` or `describe`, or `it.each(...)` and the like? Such a function is as long as its tests. */
function declaresTests(node: SyntaxNode): boolean {
  let found = false
  walk(node, (inner) => {
    let callee: unknown = inner.type === 'CallExpression' ? inner.callee : undefined
    while (isNode(callee) && callee.type !== 'Identifier') callee = callee.callee ?? callee.object
    if (/^(it|test|describe)$/.test(nameOf(callee))) found = true
  })
  return found
}

function timeSource(node: SyntaxNode, parent: SyntaxNode | undefined, field: string): string | undefined {
  if (node.type === 'NewExpression' && nameOf(node.callee) === 'Date') {
    return (node.arguments as unknown[]).length === 0 ? 'new Date()' : undefined
  }
  if (node.type === 'MemberExpression') {
    const text = `${nameOf(node.object)}.${nameOf(node.property)}`
    return /^(Date|performance)\.now$|^process\.hrtime$|^(globalThis|window)\.set(Timeout|Interval)$/.test(text)
      ? text
      : undefined
  }
  const name = node.type === 'Identifier' ? nameOf(node) : ''
  if (name !== 'setTimeout' && name !== 'setInterval') return undefined
  const isProperty = field === 'property' && parent?.computed !== true
  const isKey = field === 'key' && parent?.computed !== true
  return isProperty || isKey ? undefined : name
}

function matchesMessage(node: SyntaxNode): boolean {
  if (node.type === 'BinaryExpression' && /^[!=]==?$/.test(String(node.operator))) {
    return isMessage(node.left) || isMessage(node.right)
  }
  if (node.type !== 'CallExpression' || !isNode(node.callee) || node.callee.type !== 'MemberExpression') return false
  const method = nameOf(node.callee.property)
  if (/^(includes|startsWith|endsWith|match|matchAll|indexOf|search)$/.test(method))
    return isMessage(node.callee.object)
  return /^(test|exec)$/.test(method) && (node.arguments as unknown[]).some(isMessage)
}

/** Is it `error.message`, whatever the name of the error? A constant such as `KIND.message` is not. */
function isMessage(value: unknown): boolean {
  if (!isNode(value)) return false
  const inner = value.expression ?? value
  if (!isNode(inner) || inner.type !== 'MemberExpression' || nameOf(inner.property) !== 'message') return false
  return !/^[A-Z][A-Z_]*$/.test(nameOf(inner.object))
}

function nameOf(value: unknown): string {
  return isNode(value) && value.type === 'Identifier' ? String(value.name) : ''
}

export const ALL_FOLDERS = [...PRODUCT, 'test']
