/**
 * Compiles everything once before the tests, so that the many processes that they start need no TypeScript loader: it takes longer than
 * most of these processes do for the rest. Each run has a directory of its own, so that two may run at once.
 */

import { execFile } from 'node:child_process'
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const ROOT = fileURLToPath(new URL('../', import.meta.url))

/** Vitest calls it before all tests, and what it returns behind them. */
export default async function setup(): Promise<() => Promise<void>> {
  const directory = await mkdtemp(join(ROOT, 'node_modules', '.litetopic-test-'))
  const remove = (): Promise<void> => rm(directory, { recursive: true, force: true })
  try {
    await compile(directory)
  } catch (error) {
    await remove()
    throw error
  }
  process.env.LITETOPIC_COMPILED = directory
  return remove
}

async function compile(directory: string): Promise<void> {
  const project = join(directory, 'tsconfig.json')
  await writeFile(
    project,
    JSON.stringify({
      extends: join(ROOT, 'tsconfig.build.json'),
      compilerOptions: { declaration: false, noCheck: true, outDir: directory, rootDir: ROOT },
      include: ['bench', 'broker', 'client', 'protocol', 'storage', 'test'].map((folder) => join(ROOT, folder)),
    }),
  )
  await promisify(execFile)(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', project])
  await copyFile(join(ROOT, 'package.json'), join(directory, 'package.json'))
}
