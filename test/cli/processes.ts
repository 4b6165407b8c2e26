/** Real processes for tests of the command line and the demo: start, wait for what they print, and leave none behind. */

import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { programArgs } from '../programs.ts'

export const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** A process, and what it has printed so far. */
export interface Running {
  readonly process: ChildProcess
  readonly stdout: () => string
  readonly stderr: () => string
  /** Resolves with the first match in its output, both streams; rejects if it ends without. */
  printed(pattern: RegExp): Promise<RegExpExecArray>
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null; stdout: string; stderr: string }>
}

const running = new Set<ChildProcess>()

/** Kills every process that a test has left; for afterEach. */
export function killAll(): void {
  for (const child of running) child.kill('SIGKILL')
}

/** Runs a TypeScript file of the project. `input` is its standard input; without it there is none. */
export function runScript(
  file: string,
  args: readonly string[],
  options: { input?: string; cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Running {
  const child = spawn(process.execPath, [...programArgs(file), ...args], {
    cwd: options.cwd ?? ROOT,
    env: { ...process.env, LITETOPIC_URL: '', ...options.env },
    stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  })
  running.add(child)
  if (options.input) child.stdin?.write(options.input)
  const text = { stdout: '', stderr: '' }
  const watchers = new Set<() => void>()
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (chunk: string) => {
      text[name] += chunk
      for (const watch of watchers) watch()
    })
  }
  const ended: Running['ended'] = new Promise((resolve) => {
    child.once('close', (code, signal) => {
      running.delete(child)
      resolve({ code, signal, ...text })
    })
  })
  const printed = (pattern: RegExp): Promise<RegExpExecArray> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const match = pattern.exec(text.stdout) ?? pattern.exec(text.stderr)
        if (match) resolve(match)
      }
      watchers.add(look)
      look()
      void ended.then(({ code }) => reject(new Error(`ended (${code}) without ${pattern}: ${JSON.stringify(text)}`)))
    })
  return { process: child, stdout: () => text.stdout, stderr: () => text.stderr, printed, ended }
}

/** Runs the command line of litetopic. */
export function litetopic(args: readonly string[], options: Parameters<typeof runScript>[2] = {}): Running {
  return runScript('broker/cli/main.ts', args, options)
}

/** A broker in a process of its own, on a data directory; 0 is any free port. */
export async function brokerProcess(directory: string, port = 0): Promise<{ running: Running; url: string }> {
  const running = litetopic(['serve', '--port', String(port), '--data', directory])
  const [, url = ''] = await running.printed(/^litetopic listening on (ws:\S+)\n/)
  return { running, url }
}

/** By SIGKILL; resolves when it has ended. */
export async function kill({ process, ended }: Running): Promise<void> {
  process.kill('SIGKILL')
  await ended
}
