/** Reads an event stream as the HTML standard says, chunk by chunk: what the tests hold the broker's own against. */

export interface ParsedEvent {
  readonly event: string
  readonly data: string
  /** The last event id, with this event. */
  readonly id: string
}

export class EventParser {
  readonly events: ParsedEvent[] = []
  lastEventId = ''
  retryMs: number | null = null
  comments = 0
  private readonly decoder = new TextDecoder()
  private rest = ''
  private event = ''
  private data: string[] = []

  feed(bytes: Uint8Array): void {
    this.rest += this.decoder.decode(bytes, { stream: true })
    // A CR at the end may be the first half of a CRLF.
    const lines = this.rest.replace(/\r$/, '').split(/\r\n|\r|\n/)
    const last = lines.pop() as string
    this.rest = this.rest.endsWith('\r') ? `${last}\r` : last
    for (const line of lines) this.line(line)
  }

  private line(line: string): void {
    if (line === '') this.dispatch()
    else if (line.startsWith(':')) this.comments++
    else {
      const colon = line.indexOf(':')
      const field = colon < 0 ? line : line.slice(0, colon)
      this.field(field, colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, ''))
    }
  }

  private field(field: string, value: string): void {
    if (field === 'event') this.event = value
    else if (field === 'data') this.data.push(value)
    else if (field === 'id' && !value.includes('\0')) this.lastEventId = value
    else if (field === 'retry' && /^\d+$/.test(value)) this.retryMs = Number(value)
  }

  private dispatch(): void {
    const { event, data, lastEventId } = this
    this.event = ''
    this.data = []
    if (data.length > 0) this.events.push({ event: event || 'message', data: data.join('\n'), id: lastEventId })
  }
}
