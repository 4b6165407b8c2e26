/**
 * How the demo talks: numbered steps, facts below them, and one line of progress that moves. On a terminal it is rewritten
 * in place; into a file or pipe it becomes a few plain lines.
 */

import type { Writable } from 'node:stream'

const BAR_LENGTH = 24
const LINE_LENGTH = 100
/** From this character on, some are two columns wide; all are taken to be. */
const FIRST_WIDE = '\u1100'
/** Into a pipe, progress is written each time so much more of the whole is there. */
const PLAIN_STEP = 1 / 6

export interface NarratorOutput extends Writable {
  readonly isTTY?: boolean
  readonly columns?: number
}

/** Tells one story to one output. */
export class Narrator {
  readonly #output: NarratorOutput
  readonly #live: boolean
  #steps = 0
  #lineOpen = false
  #plainShown = 0

  constructor(output: NarratorOutput) {
    this.#output = output
    this.#live = output.isTTY === true
  }

  /** A line of its own, after an empty one. */
  title(text: string): void {
    this.#write(`\n${this.#bold(text)}\n`)
  }

  /** The next numbered step. */
  step(text: string): void {
    this.#steps++
    this.#write(`\n${this.#bold(`${this.#steps}. ${text}`)}\n`)
  }

  /** A fact below the last step. */
  fact(text: string): void {
    this.#write(`   ${text}\n`)
  }

  /** How much of the reply has arrived, and its newest text. */
  progress(done: number, total: number, text: string): void {
    const share = total === 0 ? 0 : Math.min(1, done / total)
    const counts = `${String(done).padStart(String(total).length)}/${total} tokens`
    if (this.#live) {
      const filled = Math.round(share * BAR_LENGTH)
      const head = `   [${'#'.repeat(filled)}${'.'.repeat(BAR_LENGTH - filled)}] ${counts}  `
      const room = Math.max(0, Math.min(LINE_LENGTH, this.#output.columns || LINE_LENGTH) - head.length - 1)
      this.#output.write(`\r\x1b[2K${head}${printable(text, room)}`)
      this.#lineOpen = true
    } else if (done !== this.#plainShown && (done === total || done - this.#plainShown >= total * PLAIN_STEP)) {
      this.#plainShown = done
      this.#write(`   the reader has ${counts}\n`)
    }
  }

  #write(text: string): void {
    if (this.#lineOpen) this.#output.write('\n')
    this.#lineOpen = false
    this.#output.write(text)
  }

  #bold(text: string): string {
    return this.#live && process.env.NO_COLOR === undefined ? `\x1b[1m${text}\x1b[22m` : text
  }
}

/** The end of `text` that fits into so many columns, on one line and without control characters. */
function printable(text: string, columns: number): string {
  const flat = [...text.replace(/\s+/g, ' ').replace(/\p{C}/gu, '')]
  let from = flat.length
  let width = 0
  while (from > 0) {
    width += (flat[from - 1] as string) >= FIRST_WIDE ? 2 : 1
    if (width > columns) break
    from--
  }
  return flat.slice(from).join('')
}
