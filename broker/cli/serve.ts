/** `litetopic serve`: runs a broker until it is told to stop. */

import { resolve } from 'node:path'
import { asLitetopicError, DEFAULT_PORT, LitetopicError } from '../../protocol/index.ts'
import { readAccessFile } from '../access/access-file.ts'
import { isLoopback } from '../access/address.ts'
import { type Broker, startBroker } from '../index.ts'
import { DEFAULT_DATA_DIR, loadConfig, type ServeConfig } from './config.ts'
import { EXIT } from './failure.ts'

/** The values of the command line; they come before those of the file. */
export interface ServeOptions extends ServeConfig {
  /** Path of a configuration file. */
  readonly config?: string
}

/**
 * Starts a broker, prints `litetopic listening on URL` as the first line of standard output, and resolves when it has closed
 * after SIGINT or SIGTERM. Rejects with PORT_IN_USE, DATA_DIR_IN_USE, DATA_DIR_UNUSABLE, DATA_DIR_VERSION or BAD_REQUEST.
 */
export async function serve(options: ServeOptions): Promise<void> {
  const { config, ...given } = options
  const merged: ServeConfig = { ...(config === undefined ? {} : await loadConfig(config)), ...given }
  const dataDir = resolve(merged.dataDir ?? DEFAULT_DATA_DIR)
  await checkAccessFile(merged)
  const log = (line: string): void => console.error(line)
  const broker = await startBroker({ ...merged, dataDir, tls: tlsFiles(merged), log })
  const stopped = untilSignal()
  process.on('SIGHUP', () => void reload(broker))
  console.log(`litetopic listening on ${broker.url}`)
  const http = broker.url.replace(/^ws/, 'http').replace(/\/v1\/ws$/, '')
  console.log(`  HTTP at ${http}, described in ${http}/openapi.json`)
  console.log(`  data in ${dataDir}, durability ${merged.durability ?? 'fsync'}`)
  console.log(`  ${accessLine(broker)}`)
  const url = broker.port === DEFAULT_PORT ? '' : ` --url ${broker.url}`
  console.log('  try, in two other terminals:')
  console.log(`    echo "hello, world" | npx litetopic publish first/topic${url}`)
  console.log(`    npx litetopic tail first/topic${url}`)
  const signal = await stopped
  console.error(`litetopic: ${signal}, closing; once more ends it at once`)
  await broker.close()
}

/** One that is named is meant: by a slip in its name everybody would be let in. Rejects with BAD_REQUEST. */
async function checkAccessFile({ accessFile: path }: ServeConfig): Promise<void> {
  if (path === undefined || (await readAccessFile(path)) !== null) return
  const advice = 'make one with "litetopic key create", and name the access.json that it writes'
  throw new LitetopicError('BAD_REQUEST', `accessFile: there is no ${path}: ${advice}`, { key: 'accessFile' })
}

/** Throws BAD_REQUEST for one file without the other. */
function tlsFiles({ tlsCert: cert, tlsKey: key }: ServeConfig): { cert: string; key: string } | undefined {
  if (cert === undefined && key === undefined) return undefined
  if (cert !== undefined && key !== undefined) return { cert, key }
  throw new LitetopicError('BAD_REQUEST', 'TLS needs both, --tls-cert and --tls-key')
}

async function reload(broker: Broker): Promise<void> {
  try {
    await broker.reload()
    console.error('litetopic: SIGHUP, certificate and keys are read again')
  } catch (error) {
    console.error(`litetopic: SIGHUP, but all stays as it was: ${asLitetopicError(error).message}`)
  }
}

function accessLine({ hasAccess, host }: Broker): string {
  if (hasAccess) return 'access by API keys and tokens'
  const who = isLoopback(host) ? 'who reaches this machine’s loopback, and nobody else,' : `whoever reaches ${host}`
  return `no access configured: ${who} may do everything; "litetopic key create" changes that`
}

/** Resolves at the first signal; a second one ends the process at once. Nothing acknowledged is lost by that. */
function untilSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let isSecond = false
    const stop = (signal: NodeJS.Signals): void => {
      if (isSecond) {
        console.error(`litetopic: ${signal} again, ended before it was closed`)
        process.exit(EXIT.failure)
      }
      isSecond = true
      resolve(signal)
    }
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, stop)
  })
}
