/** How tests start a program of the project: compiled, if the run has compiled it, else from its source. */

import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../', import.meta.url))

/** Arguments for Node that run the TypeScript file, named from the root of the project. */
export function programArgs(file: string): string[] {
  const { LITETOPIC_COMPILED: compiled } = process.env
  if (compiled === undefined) return ['--import', import.meta.resolve('tsx'), join(ROOT, file)]
  return [join(compiled, file.replace(/\.ts$/, '.js'))]
}
