/** Certificate and key of the broker, read from files and checked against each other before anything listens with them. */

import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createSecureContext } from 'node:tls'
import { LitetopicError } from '../../protocol/index.ts'

/** Paths of PEM files. */
export interface TlsFiles {
  /** The broker's certificate first, then those in between up to what clients trust. */
  readonly cert: string
  /** Its private key, without a passphrase. */
  readonly key: string
}

/** As node:tls takes them. */
export interface TlsContent {
  readonly cert: string
  readonly key: string
}

/** Rejects with BAD_REQUEST, in one line that says what is wrong and how to mend it. */
export async function readTls(files: TlsFiles, wallMs: number): Promise<TlsContent> {
  const [cert, key] = [await read(files.cert, 'certificate'), await read(files.key, 'key')]
  const leaf = parsed(files.cert, 'no certificate in PEM: its first block is to be that of the broker', () => {
    return new X509Certificate(cert)
  })
  const privateKey: KeyObject = parsed(files.key, 'no private key in PEM without a passphrase', () => {
    return createPrivateKey(key)
  })
  if (!leaf.checkPrivateKey(privateKey)) {
    throw wrong(
      files.key,
      `another key than the one of the certificate ${files.cert}: name the two that belong together`,
    )
  }
  if (Date.parse(leaf.validTo) <= wallMs) {
    throw wrong(files.cert, `a certificate that expired on ${leaf.validTo}: have it renewed`)
  }
  parsed(files.cert, 'a certificate that TLS does not take', () => createSecureContext({ cert, key }))
  return { cert, key }
}

async function read(path: string, what: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    throw new LitetopicError('BAD_REQUEST', `the TLS ${what} ${path} cannot be read (${code})`, { path }, cause)
  }
}

function parsed<T>(path: string, what: string, parse: () => T): T {
  try {
    return parse()
  } catch (cause) {
    throw wrong(path, what, cause)
  }
}

function wrong(path: string, what: string, cause?: unknown): LitetopicError {
  return new LitetopicError('BAD_REQUEST', `the file ${path} has ${what}`, { path }, cause)
}
