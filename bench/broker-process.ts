/** A broker in a process of its own, on a temporary directory, for the time of a run. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const MAIN = fileURLToPath(new URL('../broker/cli/main.ts', import.meta.url))

export interface BrokerProcess {
  readonly url: string
  /** Stops it and removes its data. */
  stop(): Promise<void>
}

/** Starts `litetopic serve`; rejects with what it printed if it does not come up. */
export async function startBrokerProcess(): Promise<BrokerProcess> {
  const data = await mkdtemp(join(tmpdir(), 'litetopic-bench-'))
  const args = ['--import', 'tsx', MAIN, 'serve', '--port', '0', '--data', data]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const stop = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM')
      await once(child, 'exit')
    }
    await rm(data, { recursive: true, force: true })
  }
  try {
    return { url: await listeningUrl(child), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

function listeningUrl(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let printed = ''
    // The stream is read to its end: a broker whose output nobody takes would die of it.
    child.stdout?.on('data', (chunk: Buffer) => {
      printed += String(chunk)
      const url = /ws:\/\/\S+/.exec(printed)?.[0]
      if (url !== undefined) resolve(url)
    })
    child.once('exit', () => reject(new Error(`the broker did not start; it printed: ${printed}`)))
  })
}
