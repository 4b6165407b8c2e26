/**
 * The audit log: who attached, was refused, stopped, deleted, and was given what. One JSON value a line, in a file that is set aside
 * when it is large; the oldest of those set aside goes. What it cannot write it counts, and says so.
 */

import { appendFile, rename, rm, stat } from 'node:fs/promises'
import { LIMITS } from '../../protocol/index.ts'
import type { Clock } from '../clock.ts'

export const AUDIT_FILE = 'audit.log'

export type AuditEvent = 'attach' | 'refuse' | 'stop' | 'delete' | 'grant' | 'revoke' | 'token'

/** Never a secret: a key is named by its id. */
export interface AuditFacts {
  readonly principal?: string
  readonly keyId?: string | null
  readonly address?: string
  readonly topic?: string
  readonly [fact: string]: unknown
}

export class Audit {
  private readonly path: string
  private readonly clock: Clock
  private readonly report: (line: string) => void
  private lines: string[] = []
  private waitingBytes = 0
  private lost = 0
  private writing: Promise<void> | null = null
  /** Of the file; -1 when it has not been looked at. */
  private bytes = -1
  private hasFailed = false

  /** `report` is told, once, that it cannot be written. */
  constructor(path: string, clock: Clock, report: (line: string) => void) {
    this.path = path
    this.clock = clock
    this.report = report
  }

  note(event: AuditEvent, facts: AuditFacts): void {
    const line = `${JSON.stringify({ time: new Date(this.clock.wallMs()).toISOString(), event, ...facts })}\n`
    if (this.waitingBytes > LIMITS.auditWaitingBytes) {
      this.lost++
      return
    }
    this.lines.push(line)
    this.waitingBytes += line.length
    this.writing ??= this.write()
  }

  /** Resolves when all that was noted is written, or cannot be. */
  async close(): Promise<void> {
    while (this.writing !== null) await this.writing
  }

  private async write(): Promise<void> {
    // What else is noted in this turn of the loop goes with it.
    await new Promise((resolve) => setImmediate(resolve))
    while (this.lines.length > 0) {
      const { lost } = this
      const text = this.lines.join('') + (lost > 0 ? lostLine(lost) : '')
      const count = this.lines.length
      this.lines = []
      this.waitingBytes = 0
      this.lost -= lost
      try {
        await this.append(text)
        this.hasFailed = false
      } catch (error) {
        this.lost += lost + count
        if (!this.hasFailed) this.report(`the audit log ${this.path} cannot be written: ${(error as Error).message}`)
        this.hasFailed = true
      }
    }
    this.writing = null
  }

  private async append(text: string): Promise<void> {
    if (this.bytes < 0) this.bytes = await sizeOf(this.path)
    if (this.bytes > 0 && this.bytes + Buffer.byteLength(text) > LIMITS.auditBytes) await this.rotate()
    await appendFile(this.path, text, { mode: 0o600 })
    this.bytes += Buffer.byteLength(text)
  }

  /** `audit.log.1` is the newest of those set aside. */
  private async rotate(): Promise<void> {
    await rm(`${this.path}.${LIMITS.auditFiles}`, { force: true })
    for (let i = LIMITS.auditFiles - 1; i >= 0; i--) {
      const from = i === 0 ? this.path : `${this.path}.${i}`
      await rename(from, `${this.path}.${i + 1}`).catch(ignoreMissing)
    }
    this.bytes = 0
  }
}

function lostLine(count: number): string {
  return `${JSON.stringify({ event: 'lost', count })}\n`
}

async function sizeOf(path: string): Promise<number> {
  const found = await stat(path).catch(ignoreMissing)
  return found?.size ?? 0
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}
