/** Source files as the tidy rules see them: text, lines, and a syntax tree that can be walked with parents. */

import { readdirSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { parseAst } from 'rolldown/parseAst'

/** Folders of the product; all of them are built, except bench. */
export const PRODUCT = ['protocol', 'storage', 'broker', 'client', 'bench'] as const

export interface SyntaxNode {
  readonly type: string
  readonly start: number
  readonly end: number
  readonly [key: string]: unknown
}

/** One file: its path from the root of the repository, with `/`, and what it says. */
export interface Source {
  readonly path: string
  readonly text: string
  readonly lines: number
  readonly tree: SyntaxNode
  readonly imports: readonly ImportOf[]
}

export interface ImportOf {
  readonly specifier: string
  /** The path of the file imported, if it is one of the repository. */
  readonly target: string | undefined
  readonly line: number
}

/** Parses files given as path and text; a tree of files in memory, or the one on disk. */
export function parseSources(files: Readonly<Record<string, string>>): Source[] {
  return Object.entries(files).map(([path, text]) => {
    const tree = parseAst(text, { lang: 'ts' }, path) as unknown as SyntaxNode
    const lines = text.split('\n').length - (text.endsWith('\n') ? 1 : 0)
    return { path, text, lines, tree, imports: importsOf(path, text, tree) }
  })
}

/** Every TypeScript file in the folders given, by path. */
export function readFiles(root: string, folders: readonly string[]): Record<string, string> {
  const files: Record<string, string> = {}
  for (const folder of folders) {
    for (const entry of readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })) {
      const path = posix.join(folder, entry.replaceAll('\\', '/'))
      if (path.endsWith('.ts') && !path.endsWith('.d.ts')) files[path] = readFileSync(join(root, path), 'utf8')
    }
  }
  return files
}

/** Visits every node below `node`, with its parent and the parent's field that holds it. */
export function walk(
  node: SyntaxNode,
  visit: (node: SyntaxNode, parent: SyntaxNode | undefined, field: string) => void,
): void {
  const step = (value: unknown, parent: SyntaxNode | undefined, field: string): void => {
    if (Array.isArray(value)) for (const item of value) step(item, parent, field)
    else if (isNode(value)) {
      visit(value, parent, field)
      for (const [key, child] of Object.entries(value)) step(child, value, key)
    }
  }
  step(node, undefined, '')
}

export function lineOf(text: string, at: number): number {
  let line = 1
  for (let i = text.indexOf('\n'); i !== -1 && i < at; i = text.indexOf('\n', i + 1)) line++
  return line
}

export function isNode(value: unknown): value is SyntaxNode {
  return typeof value === 'object' && value !== null && typeof (value as { type?: unknown }).type === 'string'
}

function importsOf(path: string, text: string, tree: SyntaxNode): ImportOf[] {
  const found: ImportOf[] = []
  walk(tree, (node) => {
    if (!/^(Import|ExportNamed|ExportAll)(Declaration|Expression)$/.test(node.type) && node.type !== 'TSImportType')
      return
    const source = node.source
    const specifier = isNode(source) ? source.value : undefined
    if (typeof specifier !== 'string') return
    const target = specifier.startsWith('.') ? posix.join(posix.dirname(path), specifier) : undefined
    found.push({ specifier, target, line: lineOf(text, node.start) })
  })
  return found
}
