/** A server that is a program of the system, in a process of its own on a temporary directory and a free port. */

import { type ChildProcess, execFile } from 'node:child_process'
import { once } from 'node:events'
import { lstat, readdir } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { endChild, removeDirectory, startProgram, temporaryDirectory } from '../child.ts'
import { resident } from '../memory.ts'

export type ArgsOf = (dataDir: string, port: number) => readonly string[] | Promise<readonly string[]>

export class ServerProcess {
  readonly port: number
  private readonly dataDir: string
  private readonly command: string
  private readonly args: readonly string[]
  private child: ChildProcess | null = null

  private constructor(command: string, args: readonly string[], dataDir: string, port: number) {
    this.command = command
    this.args = args
    this.dataDir = dataDir
    this.port = port
  }

  /** Resolves when the process runs; it may not listen yet. */
  static async start(command: string, argsOf: ArgsOf): Promise<ServerProcess> {
    const dataDir = await temporaryDirectory()
    const port = await freePort()
    const server = new ServerProcess(command, await argsOf(dataDir, port), dataDir, port)
    await server.startAgain()
    return server
  }

  anonBytes(): number {
    return resident(this.child?.pid ?? 0).anonBytes
  }

  diskBytes(): Promise<number> {
    return diskBytes(this.dataDir)
  }

  async shutDown(): Promise<void> {
    if (this.child !== null) await endChild(this.child)
  }

  async startAgain(): Promise<void> {
    this.child = await startProgram(this.command, this.args)
  }

  async stop(): Promise<void> {
    await this.shutDown()
    await removeDirectory(this.dataDir)
  }
}

/** What a program says of itself, or null if it is not there. */
export async function versionOf(command: string): Promise<string | null> {
  try {
    return (await promisify(execFile)(command, ['--version'])).stdout.trim()
  } catch {
    return null
  }
}

/** What the files below a directory occupy, in whole blocks. */
export async function diskBytes(directory: string): Promise<number> {
  let bytes = 0
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name)
    // A server may remove a file in between.
    if (entry.isDirectory()) bytes += await diskBytes(path)
    else bytes += ((await lstat(path).catch(() => null))?.blocks ?? 0) * 512
  }
  return bytes
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
