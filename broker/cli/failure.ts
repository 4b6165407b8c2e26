/** How a command fails: one line that says what is wrong and how to mend it, and an exit code. */

import { type ErrorCode, isLitetopicError } from '../../protocol/index.ts'

/** 0 is success. */
export const EXIT = { failure: 1, usage: 2 } as const

/** Failures that lie in how the command was called or configured. */
const USAGE_CODES: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'BAD_CURSOR',
  'BAD_NAME',
  'BAD_REQUEST',
  'DATA_DIR_IN_USE',
  'DATA_DIR_UNUSABLE',
  'DATA_DIR_VERSION',
  'PORT_IN_USE',
  'UNAUTHENTICATED',
  'ACCESS_DENIED',
])

/** Of `serve`, which can take another directory, and of others that find what only `verify` tells. */
const SERVE_REMEDIES: Partial<Record<ErrorCode, string>> = {
  DATA_DIR_IN_USE: '--data names another one',
  DATA_DIR_UNUSABLE: '--data names another one',
  DATA_DIR_VERSION: '--data names another one',
  STORE_CORRUPT: 'see what is damaged with "litetopic verify", and copy what is sound with its --salvage',
}

const REMEDIES: Partial<Record<ErrorCode, string>> = {
  BROKER_UNREACHABLE: 'start a broker with "litetopic serve", or name yours with --url or LITETOPIC_URL',
  PORT_IN_USE: '--port names another one, or 0 for any free one',
  UNAUTHENTICATED: 'give an API key or token in LITETOPIC_TOKEN, or with --token-file',
  NOT_FOUND: 'see what there is with "litetopic list"',
  STREAM_EXISTS: 'choose another id with --stream',
  STREAM_ENDED: 'choose another id with --stream',
}

/** The line for people and the exit code for scripts. */
export function describeFailure(
  error: unknown,
  command: string = 'serve',
): { readonly line: string; readonly exitCode: number } {
  if (!isLitetopicError(error)) {
    const message = error instanceof Error ? error.message : String(error)
    return { line: `litetopic: ${message}`, exitCode: EXIT.failure }
  }
  const remedy = (command === 'serve' ? SERVE_REMEDIES[error.code] : undefined) ?? REMEDIES[error.code]
  return {
    line: `litetopic: ${error.message}${remedy === undefined ? '' : `; ${remedy}`} [${error.code}]`,
    exitCode: USAGE_CODES.has(error.code) ? EXIT.usage : EXIT.failure,
  }
}
