/** A topic as text: tokens verbatim on standard output, and everything about them as notes on standard error. */

import type { SessionRecord } from '../../client/index.ts'
import { formatBytes, jsonLine, write } from './output.ts'

/** What is said on a terminal, in the colours that it has; NO_COLOR turns them off (no-color.org). */
const COLOUR = { note: 2, stream: 36, context: 35, checkpoint: 33, bad: 31 } as const

/** One follows one topic. A topic that holds a single part of a single stream gives exactly its text. */
export class TextPrinter {
  /** What the newest output belongs to. */
  #speaker = ''
  #lineOpen = false

  async print(record: SessionRecord): Promise<void> {
    switch (record.kind) {
      case 'token':
        return this.#token(record)
      case 'message':
        if (record.large) return this.#note(`large message, ${formatBytes(record.large.size)} ${record.large.tag}`)
        await this.#turnTo('message')
        return this.#write(typeof record.value === 'string' ? `${record.value}\n` : jsonLine(record.value))
      case 'stream':
        return this.#note(`stream ${record.streamId} ${record.state}`, isBad(record.state) ? 'bad' : 'stream')
      case 'context':
        return this.#note(`context ${record.op} ${record.name}`, 'context')
      case 'checkpoint':
        return this.#note(`checkpoint ${record.name}`, 'checkpoint')
    }
  }

  async #token(record: Extract<SessionRecord, { kind: 'token' }>): Promise<void> {
    await this.#turnTo(`stream ${record.streamId}, part ${record.part}`)
    await this.#write(record.text ?? jsonLine(record.bytes ?? record.value))
  }

  /** A change of speaker begins a new line. */
  async #turnTo(speaker: string): Promise<void> {
    if (speaker === this.#speaker) return
    if (this.#lineOpen) await this.#write('\n')
    this.#speaker = speaker
    if (speaker !== 'message') console.error(coloured(`-- ${speaker}`, 'note'))
  }

  /** On a terminal both outputs share the lines. */
  async #note(text: string, colour: keyof typeof COLOUR = 'note'): Promise<void> {
    if (this.#lineOpen && process.stdout.isTTY) await this.#write('\n')
    console.error(coloured(`-- ${text}`, colour))
  }

  async #write(text: string): Promise<void> {
    if (text !== '') this.#lineOpen = !text.endsWith('\n')
    await write(text)
  }
}

function isBad(state: string): boolean {
  return state === 'failed' || state === 'stopped' || state === 'lost'
}

function coloured(text: string, colour: keyof typeof COLOUR): string {
  const isPlain = process.stderr.isTTY !== true || (process.env.NO_COLOR ?? '') !== ''
  return isPlain ? text : `\x1b[${COLOUR[colour]}m${text}\x1b[0m`
}
