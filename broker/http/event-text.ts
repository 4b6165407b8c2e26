/**
 * One event of an event stream (Server-Sent Events), as text. Whatever the data holds, it stays data: no newline of any kind ends
 * its event early or begins another field.
 */

const NEWLINE = /\r\n|\r|\n/
const NEWLINES = /\r\n|\r|\n/g

export interface EventFields {
  /** Default: none, which EventSource calls `message`. */
  readonly event?: string
  /** What EventSource sends as `Last-Event-ID` when it comes back after this event. */
  readonly id?: string
}

/**
 * Any text as data; CR and CRLF reach the reader as LF, because a line is what an event stream is made of. `event` and `id` are the
 * broker's own words and hold no newline.
 */
export function eventText(data: string, { event, id }: EventFields = {}): string {
  const head = (event === undefined ? '' : `event: ${event}\n`) + (id === undefined ? '' : `id: ${id}\n`)
  return `${head}${dataLines(data)}\n`
}

/** An event whose data comes in pieces, which need not end where its lines do. */
export class LongEvent {
  /** The piece before ended with a CR, which may be the first half of a CRLF. */
  private afterCr = false

  begin(event: string): string {
    return `event: ${event}\ndata: `
  }

  add(piece: string): string {
    if (piece === '') return ''
    const text = this.afterCr && piece.startsWith('\n') ? piece.slice(1) : piece
    this.afterCr = piece.endsWith('\r')
    return text.replaceAll(NEWLINES, '\ndata: ')
  }

  end(): string {
    return '\n\n'
  }
}

/** A comment: nothing that a reader sees, but something for the proxies on the way. */
export const HEARTBEAT = ':\n\n'

/** Tells EventSource how long it waits before it comes back. */
export function retryText(ms: number): string {
  return `retry: ${Math.round(ms)}\n\n`
}

function dataLines(data: string): string {
  if (!NEWLINE.test(data)) return dataLine(data)
  return data.split(NEWLINE).map(dataLine).join('')
}

/** One space behind the colon is the format's own. It is left out unless the line begins with one that is meant. */
function dataLine(line: string): string {
  return line.startsWith(' ') ? `data: ${line}\n` : `data:${line}\n`
}
