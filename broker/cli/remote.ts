/** How the client commands reach a broker: by address or environment, and with an end to waiting where the library waits on. */

import { readFile } from 'node:fs/promises'
import { type Broker, connect, type Session, type TopicInfo } from '../../client/index.ts'
import {
  DEFAULT_HOST,
  DEFAULT_PORT,
  formatCursor,
  isLitetopicError,
  LitetopicError,
  parseCursor,
} from '../../protocol/index.ts'

/** Names the broker when `--url` does not. */
export const URL_VARIABLE = 'LITETOPIC_URL'

/** Has an API key, or a token. */
export const TOKEN_VARIABLE = 'LITETOPIC_TOKEN'

/** How the client commands are told where the broker is. */
export interface RemoteOptions {
  readonly url?: string
  /** A file with the API key or token; LITETOPIC_TOKEN has it otherwise. Never an option itself, which others could see. */
  readonly tokenFile?: string
}

/** `--url`, else LITETOPIC_URL, else the default address. */
export function brokerUrl(given: string | undefined, environment: NodeJS.ProcessEnv = process.env): string {
  return given ?? (environment[URL_VARIABLE] || `ws://${DEFAULT_HOST}:${DEFAULT_PORT}`)
}

/** What is shown to the broker, if anything. Rejects with BAD_REQUEST. */
export async function accessToken(
  { tokenFile }: RemoteOptions,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<string | undefined> {
  if (tokenFile === undefined) return environment[TOKEN_VARIABLE] || undefined
  try {
    const token = (await readFile(tokenFile, 'utf8')).trim()
    if (token !== '') return token
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    throw new LitetopicError('BAD_REQUEST', `the token file ${tokenFile} cannot be read (${code})`, {}, cause)
  }
  throw new LitetopicError('BAD_REQUEST', `the token file ${tokenFile} is empty: write an API key or a token into it`)
}

/**
 * Runs `use` with a broker and closes it. Rejects with BROKER_UNREACHABLE if the first attempt to connect fails; a connection
 * that is lost later is waited for. Rejects with BAD_REQUEST for what is no address.
 */
export async function withBroker<T>(options: RemoteOptions, use: (broker: Broker) => Promise<T>): Promise<T> {
  const url = brokerUrl(options.url)
  const broker = connect(url, { token: await accessToken(options) })
  const unreachable = new Promise<never>((_, reject) => {
    const stop = broker.onState((state) => {
      if (state === 'open') stop()
      if (state === 'waiting') reject(new LitetopicError('BROKER_UNREACHABLE', `no broker answers at ${url}`, { url }))
    })
  })
  let reached = false
  try {
    const result = await Promise.race([use(broker), unreachable])
    reached = true
    return result
  } finally {
    const closed = broker.close()
    if (reached) await closed
    else closed.catch(() => {})
  }
}

/** Where the records begin that the session's topic has kept. */
export function firstCursor(session: Session, { firstOffset }: TopicInfo): string {
  return formatCursor({ ...parseCursor(session.cursor), next: firstOffset })
}

/** Opens a session that only looks: it creates nothing, and does not keep the topic alive. Rejects with NOT_FOUND. */
export async function observeSession(broker: Broker, topic: string): Promise<Session> {
  try {
    return await broker.session(topic, { create: false, observe: true })
  } catch (error) {
    if (!isLitetopicError(error, 'NOT_FOUND')) throw error
    throw new LitetopicError('NOT_FOUND', `there is no topic "${topic}"`, error.details, error)
  }
}
