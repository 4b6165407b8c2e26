/** A topic as text: tokens verbatim on standard output, and everything about them as notes on standard error. */

import type { SessionRecord } from '../../client/index.ts'
import { formatBytes, jsonLine, write } from './output.ts'

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
        return this.#note(`stream ${record.streamId} ${record.state}`)
      case 'context':
        return this.#note(`context ${record.op} ${record.name}`)
      case 'checkpoint':
        return this.#note(`checkpoint ${record.name}`)
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
    if (speaker !== 'message') console.error(`-- ${speaker}`)
  }

  /** On a terminal both outputs share the lines. */
  async #note(text: string): Promise<void> {
    if (this.#lineOpen && process.stdout.isTTY) await this.#write('\n')
    console.error(`-- ${text}`)
  }

  async #write(text: string): Promise<void> {
    if (text !== '') this.#lineOpen = !text.endsWith('\n')
    await write(text)
  }
}
