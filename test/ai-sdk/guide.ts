/** The samples of the guide, as modules that can be bundled and run as they stand. */

import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type BuildOptions, build, type Plugin } from 'esbuild'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const GUIDE = readFileSync(join(ROOT, 'client/ai-sdk/README.md'), 'utf8')

/** The block that begins with the name of its file. */
export function sampleOf(file: string): string {
  const begin = GUIDE.indexOf(`\n// ${file}\n`)
  const end = GUIDE.indexOf('\n```', begin)
  if (begin < 0 || end < 0) throw new Error(`the guide has no sample ${file}`)
  return GUIDE.slice(begin, end)
}

/** Bundles an entry that imports samples as `guide:<file>`, with modules of the test in the place of some of them or beside them. */
export async function bundled(
  entry: string,
  modules: Readonly<Record<string, string>>,
  options: BuildOptions,
): Promise<string> {
  const guide: Plugin = {
    name: 'guide',
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /^litetopic(\/ai-sdk)?$/ }, ({ path }) => ({
        path: join(ROOT, path.replace('litetopic', 'client'), 'index.ts'),
      }))
      onResolve({ filter: /^guide:/ }, ({ path }) => ({ path: path.slice('guide:'.length), namespace: 'guide' }))
      onResolve({ filter: /.*/, namespace: 'guide' }, ({ path, importer }) => {
        if (path in modules) return { path, namespace: 'guide' }
        return path.startsWith('.') ? { path: join(dirname(importer), path), namespace: 'guide' } : undefined
      })
      onLoad({ filter: /.*/, namespace: 'guide' }, ({ path }) => ({
        contents: modules[path] ?? sampleOf(path),
        loader: 'tsx',
        resolveDir: join(ROOT, 'test/ai-sdk'),
      }))
    },
  }
  const { outputFiles } = await build({
    ...{ bundle: true, write: false, logLevel: 'silent', absWorkingDir: ROOT, target: 'es2022', jsxFactory: 'h' },
    stdin: { contents: entry, resolveDir: join(ROOT, 'test/ai-sdk'), loader: 'ts' },
    plugins: [guide],
    ...options,
  })
  return outputFiles?.[0]?.text ?? ''
}
