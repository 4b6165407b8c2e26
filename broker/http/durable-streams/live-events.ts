/**
 * `live=sse`: a Durable Streams stream as an event stream. What there is goes in pages; then each append as it comes, encoded once for
 * all readers that stand at the end. Whoever falls behind gets pages again. See section 5.8 of the protocol.
 */

import { DELIVER_LIVE, isLitetopicError, LIMITS, LitetopicError } from '../../../protocol/index.ts'
import type { SharedBatches, SharedMessage } from '../../client.ts'
import type { Reading } from '../caller.ts'
import { eventText, LongEvent } from '../event-text.ts'
import type { Face } from '../face.ts'
import type { Reply, Request } from '../fastify.ts'
import { batchEnd, messageOf, sharedText } from '../live-texts.ts'
import type { EventStream } from '../sse.ts'
import { base64, largeContent } from './large-content.ts'
import { nextCursor } from './live-cursor.ts'
import type { Form } from './media-type.ts'
import { type LargeContent, PageWriter } from './page.ts'
import { type Page, type ReadQuery, StreamReader } from './stream-reader.ts'

/** An event is text: its characters are whole. */
const CHARACTERS = { characters: true }

/** What an event that cannot be encoded as it is delivered is shared as: the content of a large message is fetched. */
const IN_PAGES: SharedMessage = { bytes: new Uint8Array(0), wire: null }

/** Answers with an event stream, which ends with the stream, or after about `durableEventsMs` to be taken up again. */
export async function liveEvents(face: Face, query: ReadQuery, request: Request, reply: Reply): Promise<Reply> {
  const stream = face.events.of(reply.raw)
  const reader = await StreamReader.open(face, request, reply, stream)
  const first = await reader.page(reader.from(query.offset), CHARACTERS)
  if (face.stopping !== null) throw face.stopping
  const events = new LiveEvents(face, reader, stream, query.cursor)
  reply.hijack()
  const encoding = reader.form === 'bytes' ? { 'stream-sse-data-encoding': 'base64' } : {}
  stream.open({ ...reply.getHeaders(), ...encoding })
  // What goes wrong from here on, the reader finds out when it comes back.
  events.run(first).then(
    () => stream.end(),
    () => stream.end(),
  )
  return reply
}

/** Why following what is appended has ended: go on with pages, or end the event stream. */
type Turn = 'pages' | 'end'

class LiveEvents implements Reading {
  private readonly face: Face
  private readonly reader: StreamReader
  private readonly stream: EventStream
  /** Cursors never go back behind it. */
  private readonly firstCursor: number
  private position = -1
  /** The text that it waits for goes on within a character, of which the beginning has been left out. */
  private isWithin = false
  /** Its time is over: it ends where its reader can go on. */
  private isOver = false
  /** Ends the following of what is appended, while it is followed. */
  private turn: ((to: Turn) => void) | null = null
  private wake: () => void = () => undefined

  constructor(face: Face, reader: StreamReader, stream: EventStream, cursor: string | undefined) {
    this.face = face
    this.reader = reader
    this.stream = stream
    this.firstCursor = Number(nextCursor(cursor, face.options.clock.wallMs()))
  }

  /** Resolves when the event stream is to end; rejects when what is read is no more, or the broker stops. */
  async run(first: Page): Promise<void> {
    const over = (): void => {
      this.isOver = true
      this.turn?.('end')
      this.wake()
    }
    const cancel = this.face.options.clock.after(LIMITS.durableEventsMs, over)
    this.stream.onClose = over
    try {
      for (let page = first; ; page = await this.reader.page({ offset: this.position }, CHARACTERS)) {
        await this.sendPage(page)
        if (page.closed || this.isOver) return
        if (page.upToDate && (await this.follow(page.tail)) === 'end') return
        await this.whenUnclogged()
      }
    } finally {
      cancel()
    }
  }

  deliver(bytes: Uint8Array, from: number, to: number, flags: number): void {
    // It has fallen behind.
    if ((flags & DELIVER_LIVE) === 0 || this.isWithin) this.turn?.('pages')
    else {
      const message = this.face.events.texts.of(bytes, from, this.key, () => this.encode(bytes.subarray(from, to)))
      this.take(message, batchEnd(bytes, from, to))
    }
  }

  share(batches: SharedBatches): void {
    const { bytes, size, next } = batches
    this.take(
      sharedText(batches, this.key, () => this.encode(bytes.subarray(0, size))),
      next,
    )
  }

  ended(error: LitetopicError): void {
    const isClosed = isLitetopicError(error, 'CLOSED')
    // What was left out is not made whole any more.
    if (isClosed && this.isWithin) {
      this.turn?.('pages')
      return
    }
    if (isClosed) this.stream.send(this.control(this.position, { closed: true }))
    this.turn?.('end')
  }

  /** Hands on what is appended, until there is a reason for something else. Rejects when it cannot be read. */
  private async follow(tail: number): Promise<Turn> {
    this.isWithin = tail > this.position
    let close = (): void => undefined
    try {
      return await new Promise<Turn>((resolve, reject) => {
        this.turn = (to) => {
          this.turn = null
          resolve(to)
        }
        this.reader.caller.subscribe({ offset: tail }, { raw: true }, this).then((subscription) => {
          close = subscription.close
          if (this.face.stopping === null) subscription.start()
          else reject(this.face.stopping)
        }, reject)
      })
    } finally {
      this.turn = null
      close()
    }
  }

  private take(message: SharedMessage, next: number): void {
    // What comes when it follows no more is read again.
    if (this.turn === null) return
    if (message === IN_PAGES || this.isWithin) {
      this.turn('pages')
      return
    }
    this.stream.share(message)
    this.position = next
  }

  /** Batches that were appended at the end, as events for all who stood there. */
  private encode(batches: Uint8Array): SharedMessage {
    const page = new PageWriter(this.reader.form, this.position, Number.POSITIVE_INFINITY)
    page.add(batches, Number.POSITIVE_INFINITY)
    if (page.isFull || page.leaveOutCut(true)) return IN_PAGES
    const data = page.isEmpty ? '' : this.dataEvent(page.body())
    return messageOf(data + this.control(page.next, { upToDate: true }))
  }

  private async sendPage(page: Page): Promise<void> {
    if (page.large !== null) await this.sendLarge(page.large)
    else if (!page.isEmpty) this.stream.send(this.dataEvent(page.body))
    const isWhole = page.tail === page.next
    // Of a character that is not whole yet nothing is said.
    if (!isWhole && page.next === this.position) return
    this.position = page.next
    this.stream.send(this.control(page.next, { upToDate: page.upToDate && isWhole, closed: page.closed }))
  }

  private async sendLarge(large: LargeContent): Promise<void> {
    const { caller, form } = this.reader
    const event = new LongEvent()
    this.stream.send(event.begin('data'))
    for await (const text of texts(largeContent(caller, large, form), form)) {
      this.stream.send(event.add(text))
      await this.whenUnclogged()
    }
    this.stream.send(event.end())
  }

  private dataEvent(body: Buffer): string {
    return eventText(body.toString(this.reader.form === 'bytes' ? 'base64' : 'utf8'), { event: 'data' })
  }

  private control(next: number, { upToDate, closed }: { upToDate?: boolean; closed?: boolean }): string {
    const fields = {
      streamNextOffset: this.reader.offset(next),
      ...(closed === true ? { streamClosed: true } : { streamCursor: this.cursor }),
      ...((upToDate === true || closed === true) && { upToDate: true }),
    }
    return eventText(JSON.stringify(fields), { event: 'control' })
  }

  private get cursor(): string {
    return String(Math.max(this.firstCursor, Number(nextCursor(undefined, this.face.options.clock.wallMs()))))
  }

  /** What all readers who are sent the same have in common. */
  private get key(): string {
    return `durable ${this.reader.form} ${this.cursor}`
  }

  private async whenUnclogged(): Promise<void> {
    while (this.stream.clogged && this.stream.isOpen) {
      await new Promise<void>((resolve) => {
        this.wake = resolve
        this.stream.whenUnclogged(resolve)
      })
    }
    if (!this.stream.isOpen) throw new LitetopicError('CONNECTION_CLOSED', 'the reader has gone')
  }
}

/** Content as text: base64 of bytes, and else without a cut through a character. */
async function* texts(content: AsyncIterable<Uint8Array>, form: Form): AsyncGenerator<string> {
  const decoder = form === 'bytes' ? new TextDecoder('latin1') : new TextDecoder('utf-8', { ignoreBOM: true })
  for await (const bytes of form === 'bytes' ? base64(content) : content) yield decoder.decode(bytes, { stream: true })
}
