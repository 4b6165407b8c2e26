/** An agent's hand on its ledger: what it sends is written down before, what is acknowledged after. */

import { LitetopicError } from '../../client/index.ts'
import { digest, type Marked } from './content.ts'
import { type Batch, LedgerFile, type LedgerLine, readLedger } from './ledger.ts'

/** An operation that takes longer than this hangs: the broker is never away for so long. */
const STUCK_MS = 60_000

export class Journal {
  readonly writer: string
  readonly count: (records: number) => void
  /** What earlier lives wrote. */
  readonly before: readonly LedgerLine[]
  private readonly file: LedgerFile<LedgerLine>
  private n = 0
  private larges = 0

  constructor(
    directory: string,
    topic: string,
    agent: { readonly name: string; readonly life: number },
    count: (records: number) => void,
  ) {
    this.writer = `${agent.name}.${agent.life}`
    this.count = count
    this.before = readLedger<LedgerLine>(directory, 'agents', topic, agent.name)
    this.file = new LedgerFile(directory, 'agents', topic, agent.name)
  }

  add(...lines: LedgerLine[]): void {
    this.file.add(...lines)
  }

  wrong(what: string): void {
    this.add(['wrong', `${this.writer}: ${what}`])
  }

  /** The next values of this writer, which are about to be sent in one append. */
  values(pads: readonly string[], id: string | null = null): Marked[] {
    const first = this.n
    this.n += pads.length
    const batch: Batch | null = pads.length > 1 ? [first, pads.length] : null
    const values = pads.map((pad, i) => ({ w: this.writer, n: first + i, ...(batch && { b: batch }), pad }))
    this.add(
      ...values.map((value, i): LedgerLine => {
        return ['intent', value.w, value.n, digest(JSON.stringify(value)), i === 0 ? id : null, batch]
      }),
    )
    return values
  }

  /** A large value that is about to be sent: it takes its place when it is uploaded, so it is a writer of its own to the checker. */
  large(pad: string): Marked {
    const value = { w: `${this.writer}L${this.larges++}`, n: 0, pad }
    this.add(['intent', value.w, 0, digest(JSON.stringify(value)), null, null])
    return value
  }

  /** They were acknowledged, the first at the offset. */
  stored(values: readonly Marked[], epoch: number, offset: number): void {
    this.add(...values.map(({ w, n }, i): LedgerLine => ['stored', w, n, epoch, offset + i]))
    this.count(values.length)
  }

  /**
   * Does something that may be refused with the codes given. Resolves with null if it was; anything else that it rejects
   * with, and taking too long, goes into the ledger as wrong.
   */
  async attempt<T>(what: string, act: () => Promise<T>, ...codes: string[]): Promise<T | null> {
    let timer: NodeJS.Timeout | undefined
    const stuck = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`nothing came of it in ${STUCK_MS} ms`)), STUCK_MS)
    })
    try {
      return await Promise.race([act(), stuck])
    } catch (error) {
      if (error instanceof LitetopicError && codes.includes(error.code)) return null
      const code = error instanceof LitetopicError ? error.code : 'no LitetopicError'
      this.wrong(`${what}: ${code}: ${error instanceof Error ? error.message : String(error)}`)
      return null
    } finally {
      clearTimeout(timer)
    }
  }
}
