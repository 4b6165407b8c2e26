/** A chain of certificates for tests, made by openssl: a root, one in between, and those that it has signed. */

import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

export interface Leaf {
  readonly certFile: string
  readonly keyFile: string
}

export class Chain {
  /** What clients trust. */
  readonly root: string
  private readonly directory: string

  private constructor(directory: string, root: string) {
    this.directory = directory
    this.root = root
  }

  static async make(directory: string): Promise<Chain> {
    await key(directory, 'root')
    await openssl(directory, 'req -x509 -new -key root.key -out root.pem -days 30 -subj', '/CN=litetopic test root')
    await key(directory, 'middle')
    await sign(directory, 'middle', 'root', 'basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=keyCertSign', 30)
    return new Chain(directory, await readFile(join(directory, 'root.pem'), 'utf8'))
  }

  /** A certificate for this machine, followed by the one in between; `days` before now it has expired. */
  async leaf(name: string, days = 30): Promise<Leaf> {
    const { directory } = this
    await key(directory, name)
    await sign(directory, name, 'middle', 'subjectAltName=IP:127.0.0.1,DNS:localhost', days)
    const [leaf, middle] = await Promise.all(
      [name, 'middle'].map((one) => readFile(join(directory, `${one}.pem`), 'utf8')),
    )
    const certFile = join(directory, `${name}.chain.pem`)
    await writeFile(certFile, `${leaf}${middle}`)
    return { certFile, keyFile: join(directory, `${name}.key`) }
  }
}

async function key(directory: string, name: string): Promise<void> {
  await openssl(directory, `ecparam -genkey -name prime256v1 -noout -out ${name}.key`)
}

async function sign(directory: string, name: string, by: string, extensions: string, days: number): Promise<void> {
  await writeFile(join(directory, `${name}.ext`), extensions)
  await openssl(directory, `req -new -key ${name}.key -out ${name}.csr -subj`, `/CN=litetopic ${name}`)
  const from = `x509 -req -in ${name}.csr -CA ${by}.pem -CAkey ${by}.key -CAcreateserial -extfile ${name}.ext`
  await openssl(directory, `${from} -days ${days} -out ${name}.pem`)
}

async function openssl(cwd: string, words: string, ...more: string[]): Promise<void> {
  await run('openssl', [...words.split(' '), ...more], { cwd })
}
