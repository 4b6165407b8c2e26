/**
 * Reading the content of large messages. A client's requests are its credit: they wait, small, until its socket has taken
 * the answer before, and until there is memory for one part more. So content that nobody takes is not in memory.
 */

import { asLitetopicError, LIMITS, LitetopicError, type RecordParts, type ReplyOf, type UP } from '../protocol/index.ts'
import { ownerOf } from '../storage/index.ts'
import type { Client } from './client.ts'
import type { Context } from './context.ts'
import { beyondEnd, endedError } from './outcomes.ts'
import { partPassed } from './part-garbage.ts'
import { PartSlots, type Slot, type SlotTaker } from './part-slots.ts'
import { readRecord } from './positions.ts'
import type { Attachment } from './topic.ts'

export interface FetchRequest {
  readonly offset: number
  readonly from: number
  readonly maxBytes: number
}

/** An answer that holds memory until `taken` is called: when the socket has taken it, or never will. */
export interface Fetched {
  readonly reply: ReplyOf<typeof UP.fetch>
  readonly taken: () => void
}

interface Job {
  readonly attachment: Attachment
  readonly request: FetchRequest
  readonly resolve: (fetched: Fetched) => void
  readonly reject: (error: LitetopicError) => void
}

export class Fetches {
  private readonly context: Context
  private readonly slots: PartSlots
  private readonly clients = new WeakMap<Client, ClientFetches>()
  /** Where the message lies that an attachment read last: the next request is for the same, mostly. */
  private readonly known = new WeakMap<Attachment, { offset: number; parts: RecordParts }>()

  constructor(context: Context) {
    this.context = context
    this.slots = new PartSlots(context.clock, 1)
  }

  /** Resolves in its turn. Rejects with TRIMMED, GONE, OFFSET_BEYOND_END, BAD_REQUEST or STORE_CORRUPT. */
  fetch(attachment: Attachment, request: FetchRequest): Promise<Fetched> {
    const { client } = attachment
    let fetches = this.clients.get(client)
    if (fetches === undefined) {
      fetches = new ClientFetches(client, this.slots, (job) => this.read(job))
      this.clients.set(client, fetches)
    }
    const { add } = fetches
    return new Promise((resolve, reject) => add({ attachment, request, resolve, reject }))
  }

  private async read({ attachment, request }: Job): Promise<ReplyOf<typeof UP.fetch>> {
    const { offset, from, maxBytes } = request
    const { size, uploadId } = await this.partsAt(attachment, offset)
    if (from > size || maxBytes === 0) {
      throw new LitetopicError('BAD_REQUEST', `the message at offset ${offset} has ${size} bytes: ask for some of them`)
    }
    if (from === size) return { bytes: new Uint8Array(0), size }
    const part = Math.floor(from / LIMITS.partBytes)
    const at = part * LIMITS.partBytes
    const partSize = Math.min(LIMITS.partBytes, size - at)
    const { shard } = this.context
    try {
      const { epoch } = ownerOf(attachment.topic.state, offset)
      const bytes = await shard.parts.read(epoch, uploadId, part, partSize)
      // What was deleted while it was read is gone.
      this.check(attachment, offset)
      partPassed(bytes.length)
      return { bytes: bytes.subarray(from - at, from - at + maxBytes), size }
    } catch (error) {
      this.check(attachment, offset)
      this.context.report(asLitetopicError(error))
      throw error
    }
  }

  private async partsAt(attachment: Attachment, offset: number): Promise<RecordParts> {
    this.check(attachment, offset)
    const last = this.known.get(attachment)
    if (last?.offset === offset) return last.parts
    const { parts } = await readRecord(this.context, attachment.topic, offset)
    if (parts === undefined) {
      throw new LitetopicError('BAD_REQUEST', `there is no large message at offset ${offset}`, { offset })
    }
    this.known.set(attachment, { offset, parts })
    return parts
  }

  private check({ topic, detached }: Attachment, offset: number): void {
    if (topic.ended !== null) throw topic.ended
    if (detached) throw new LitetopicError('UNKNOWN_HANDLE', 'the handle was detached meanwhile')
    if (offset >= topic.state.committedTo) throw beyondEnd(topic.state, offset)
    if (offset < topic.state.firstOffset) throw endedError(topic, 'trimmed', this.context.shard.incarnation)
  }
}

/** What one client has asked for: one answer at a time is read, or waits to be taken. */
class ClientFetches implements SlotTaker {
  readonly client: Client
  readonly patienceMs = LIMITS.partGrantMs
  private readonly slots: PartSlots
  private readonly read: (job: Job) => Promise<ReplyOf<typeof UP.fetch>>
  private readonly jobs: Job[] = []
  private isBusy = false

  constructor(client: Client, slots: PartSlots, read: ClientFetches['read']) {
    this.client = client
    this.slots = slots
    this.read = read
  }

  readonly add = (job: Job): void => {
    this.jobs.push(job)
    this.askForSlot()
  }

  given(slot: Slot): void {
    const job = this.jobs.shift()
    if (job === undefined) {
      this.done(slot)
      return
    }
    this.read(job).then(
      (reply) => job.resolve({ reply, taken: () => this.done(slot) }),
      (error: unknown) => {
        job.reject(asLitetopicError(error))
        this.done(slot)
      },
    )
  }

  /** It takes nothing, and others wait: it may come back, and go on where it was. */
  late(): void {
    this.client.cut()
  }

  private askForSlot(): void {
    if (this.isBusy || this.jobs.length === 0) return
    this.isBusy = true
    this.slots.ask(this)
  }

  private done(slot: Slot): void {
    this.isBusy = false
    this.slots.release(slot)
    this.askForSlot()
  }
}
