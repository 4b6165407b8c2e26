/**
 * Programs of the suite in processes of their own, and directories for the time of a run. Neither is left behind, whether the
 * suite ends, fails or is interrupted.
 */

import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { constants, tmpdir } from 'node:os'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** From source the children need the TypeScript loader as well; compiled they do not. */
const EXTENSION = extname(import.meta.url)
const RUNTIME = EXTENSION === '.ts' ? ['--import', import.meta.resolve('tsx')] : []

const children = new Set<ChildProcess>()
const directories = new Set<string>()

/**
 * Starts a program of the suite in a process of its own, by its path below bench/ without the extension, which differs when the
 * suite is compiled. Resolves with the first message it sends; rejects if it ends before.
 */
export async function startChild<T>(
  program: string,
  args: readonly string[],
  nodeOptions: readonly string[] = [],
): Promise<{ child: ChildProcess; first: T }> {
  const file = fileURLToPath(new URL(`./${program}${EXTENSION}`, import.meta.url))
  const child = fork(file, args, { execArgv: [...RUNTIME, ...nodeOptions] })
  children.add(child)
  child.once('exit', () => children.delete(child))
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`${file} ended with code ${code} before it was ready`)
  })
  const [first] = await Promise.race([once(child, 'message'), ended])
  ended.catch(() => undefined)
  return { child, first: first as T }
}

/** Starts a program of the system; what it says is not shown. Resolves when the process runs; rejects if there is no such program. */
export async function startProgram(command: string, args: readonly string[]): Promise<ChildProcess> {
  const child = spawn(command, args, { stdio: 'ignore' })
  await once(child, 'spawn')
  children.add(child)
  child.once('exit', () => children.delete(child))
  return child
}

/** Asks a process to end. Resolves when it is gone. */
export async function endChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGTERM')
  await once(child, 'exit')
}

/** A new directory, to be removed with `removeDirectory`. */
export async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'litetopic-bench-'))
  directories.add(directory)
  return directory
}

export async function removeDirectory(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true })
  directories.delete(directory)
}

let ending: Promise<void> | null = null

/**
 * Kills the programs that still run, removes the directories that are still there, and ends this process with the code. Called
 * again, it changes nothing.
 */
export function endSuite(code: number): Promise<void> {
  ending ??= cleanUp().then(() => process.exit(code))
  return ending
}

/** Says why, and ends the suite as failed, unless it is ending anyway. */
export function failSuite(reason: string): void {
  if (isEnding()) return
  console.error(reason)
  void endSuite(1)
}

/** What fails from now on fails because the suite ends. */
export function isEnding(): boolean {
  return ending !== null
}

/** An interrupted run ends with the exit code of its signal. A second signal ends it at once. */
export function endOnSignals(): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => endSuite(128 + constants.signals[signal]))
  }
}

async function cleanUp(): Promise<void> {
  // Again, because what was under way may have begun something.
  while (children.size + directories.size > 0) {
    const ended = [...children].map((child) => once(child, 'exit'))
    for (const child of children) child.kill('SIGKILL')
    await Promise.all(ended)
    await Promise.all([...directories].map(removeDirectory))
  }
}
