/**
 * What an operator may ask of a running broker: one line of JSON over a Unix domain socket, `control.sock` in the data
 * directory, and lines of JSON as the answer. Only who may open the directory may ask; nothing of it is on the network.
 *
 *     {"reload": true}   ->   {"done": true}, or the error: the access file is read again
 *     {"copyTo": path}   ->   {"copied": bytes} ...  then  {"done": true}  or  {"error": {code, message, details}}
 *
 * Not on Windows, where a socket is no file: there a broker is stopped before its data is copied.
 */

import { chmod, mkdtemp, rm, symlink } from 'node:fs/promises'
import { createConnection, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { asLitetopicError, LitetopicError } from '../protocol/index.ts'

export const CONTROL_SOCKET = 'control.sock'
/** A socket's address has 104 to 108 bytes, depending on the system. A longer path is a link to a short one. */
const PATH_BYTES = 100
/** A request is one path. */
const REQUEST_BYTES = 16 * 1024

export interface Commands {
  /** Copies the store into a new data directory. `copied` is told of the bytes so far; the signal ends it. */
  copyTo(path: string, copied: (bytes: number) => void, signal: AbortSignal): Promise<void>
  /** Reads the access file again. */
  reload(): Promise<void>
}

export class Control {
  private readonly server: Server
  private readonly paths: readonly string[]
  private readonly stopping = new AbortController()
  private readonly running = new Set<Promise<void>>()
  private readonly sockets = new Set<Socket>()

  private constructor(server: Server, paths: readonly string[]) {
    this.server = server
    this.paths = paths
  }

  /** Listens in the data directory, which nobody else has open: a socket that is there was left by a killed process. */
  static async open(directory: string, commands: Commands): Promise<Control | null> {
    if (process.platform === 'win32') return null
    const path = join(directory, CONTROL_SOCKET)
    await rm(path, { force: true })
    const isLong = Buffer.byteLength(path) > PATH_BYTES
    const address = isLong ? join(await mkdtemp(join(tmpdir(), 'litetopic-')), 'sock') : path
    const server = createServer((socket) => control.serve(socket, commands))
    const control = new Control(server, isLong ? [path, dirname(address)] : [path])
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(address, resolve)
    })
    await chmod(address, 0o600)
    if (isLong) await symlink(address, path)
    server.unref()
    return control
  }

  /** Ends what is under way, and listens no more. */
  async close(): Promise<void> {
    this.stopping.abort(new LitetopicError('SHUTTING_DOWN', 'the broker is stopping'))
    await Promise.allSettled(this.running)
    // Whoever asks for nothing, or does not hang up, must not keep the broker from closing.
    for (const socket of this.sockets) socket.destroy()
    await new Promise<void>((resolve) => this.server.close(() => resolve()))
    // What cannot be removed, as in a directory that is read-only now, is removed by the next start.
    await Promise.allSettled(this.paths.map((path) => rm(path, { force: true, recursive: true })))
  }

  private serve(socket: Socket, commands: Commands): void {
    const gone = new AbortController()
    socket.on('error', () => undefined) // it closes then
    this.sockets.add(socket)
    socket.on('close', () => {
      this.sockets.delete(socket)
      gone.abort(new LitetopicError('CONNECTION_CLOSED', 'who asked for it has gone'))
    })
    const signal = AbortSignal.any([gone.signal, this.stopping.signal])
    let request = ''
    const read = (chunk: string): void => {
      request += chunk
      if (!request.includes('\n') && request.length < REQUEST_BYTES) return
      socket.off('data', read)
      socket.resume()
      const work = answer(request, socket, commands, signal)
      this.running.add(work)
      void work.finally(() => this.running.delete(work))
    }
    socket.setEncoding('utf8').on('data', read)
  }
}

async function answer(request: string, socket: Socket, commands: Commands, signal: AbortSignal): Promise<void> {
  const say = (line: object): void => {
    if (socket.writable) socket.write(`${JSON.stringify(line)}\n`)
  }
  try {
    const { copyTo } = commandOf(request)
    if (copyTo === undefined) await commands.reload()
    else await commands.copyTo(copyTo, (copied) => say({ copied }), signal)
    say({ done: true })
  } catch (error) {
    const { code, message, details } = asLitetopicError(error)
    say({ error: { code, message, details } })
  }
  socket.end()
}

/** Without a path it is to reload. */
function commandOf(request: string): { copyTo?: string } {
  try {
    const { copyTo, reload }: { copyTo?: unknown; reload?: unknown } = JSON.parse(request.split('\n')[0] ?? '')
    if (typeof copyTo === 'string' && copyTo !== '') return { copyTo }
    if (reload === true) return {}
  } catch {
    // Neither is what follows.
  }
  throw new LitetopicError('BAD_REQUEST', 'a request is one line, {"copyTo": path} or {"reload": true}')
}

/**
 * Asks the broker that listens there for a copy. False if none does. Rejects with the error that the broker tells, and with
 * BROKER_UNREACHABLE if it is gone before the end.
 */
export function askForCopy(address: string, path: string, copied: (bytes: number) => void): Promise<boolean> {
  return ask(address, { copyTo: path }, copied)
}

/** Has the broker that listens there read its access file again. False if none does; rejects as `askForCopy` does. */
export function askToReload(address: string): Promise<boolean> {
  return ask(address, { reload: true }, () => undefined)
}

async function ask(address: string, request: object, copied: (bytes: number) => void): Promise<boolean> {
  const socket = createConnection(address)
  const isOpen = await new Promise<boolean>((resolve) => {
    socket.once('connect', () => resolve(true))
    socket.once('error', () => resolve(false))
  })
  if (!isOpen) return false
  socket.on('error', () => undefined) // it closes then
  socket.write(`${JSON.stringify(request)}\n`)
  for await (const line of createInterface({ input: socket })) {
    const told: { copied?: number; done?: boolean; error?: { code: 'INTERNAL'; message: string; details: object } } =
      JSON.parse(line)
    if (told.copied !== undefined) copied(told.copied)
    if (told.error !== undefined)
      throw new LitetopicError(told.error.code, told.error.message, { ...told.error.details })
    if (told.done === true) return true
  }
  throw new LitetopicError('BROKER_UNREACHABLE', 'the broker was gone before it had done what it was asked')
}
