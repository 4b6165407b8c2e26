/**
 * One reader of a topic. While it has caught up and has credit, the committer hands it each batch; otherwise it keeps its
 * position and reads from memory or the table until it has caught up again, so that a slow reader costs nothing.
 */

import { asLitetopicError, BatchReader, ByteReader, DELIVER_LIVE, LitetopicError } from '../protocol/index.ts'
import { type Shard, SLAB_BYTES } from '../storage/index.ts'
import { leave } from './admission.ts'
import type { Client } from './client.ts'
import { coalesce } from './coalesce.ts'
import type { CommitItem } from './commit-item.ts'
import type { Context } from './context.ts'
import type { Block } from './crowd.ts'
import type { Counts } from './observe/counts.ts'
import { closedError, endedError } from './outcomes.ts'
import type { Attachment, Reader, Topic } from './topic.ts'

/** Reads from memory before the loop gets its turn. */
const READS_PER_TURN = 4

export class Subscription implements Reader {
  readonly attachment: Attachment
  readonly id: number
  /** Next offset to deliver. */
  position: number
  private credit: number
  private readonly raw: boolean
  private readonly shard: Shard<CommitItem>
  private readonly counts: Counts
  /** Caught up: the committer delivers, or the crowd in its turn. */
  private live = false
  private pumping = false
  /** Its client tells when the socket has room. */
  private waiting = false
  closed = false
  /** Told once when it has ended. */
  onClose: () => void = () => undefined

  constructor(
    attachment: Attachment,
    id: number,
    position: number,
    options: { raw: boolean; credit: number },
    { shard, counts }: Pick<Context, 'shard' | 'counts'>,
  ) {
    this.attachment = attachment
    this.id = id
    this.position = position
    this.raw = options.raw
    this.credit = options.credit
    this.shard = shard
    this.counts = counts
  }

  private get topic(): Topic {
    return this.attachment.topic
  }

  private get client(): Client {
    return this.attachment.client
  }

  /** A batch at the end of the topic was committed: delivers it if this reader stands there and can take it. */
  offer(position: number, size: number, base: number, next: number): void {
    if (!this.live) return
    if (this.position !== base || this.credit <= 0 || this.client.clogged) {
      this.fallBehind()
      return
    }
    const from = position % SLAB_BYTES
    this.client.deliver(this.id, DELIVER_LIVE, this.shard.slabAt(position), from, from + size)
    this.counts.gave('live', next - base, size)
    this.position = next
    this.credit -= size
  }

  /** Its turn among the readers of its topic: delivers what it has not got of the block, if it stands there and can take it. */
  serve(block: Block): void {
    const { position } = this
    if (!this.live || position >= block.next) return
    const index = position === block.base ? 0 : block.indexOf(position)
    if (index < 0 || this.credit < block.size || this.client.clogged) {
      this.fallBehind()
      return
    }
    const from = block.starts[index] as number
    if (index === 0) this.client.deliverShared(this.id, block)
    else
      for (let i = index; i < block.starts.length; i++) {
        this.client.deliver(
          this.id,
          block.flags,
          block.bytes,
          block.starts[i] as number,
          block.starts[i + 1] ?? block.size,
        )
      }
    this.counts.gave('live', block.next - position, block.size - from)
    this.position = block.next
    this.credit -= block.size - from
  }

  /** It is not handed what is committed any more, and reads what is stored until it has caught up. */
  private fallBehind(): void {
    this.counts.readersBehind++
    this.live = false
    this.pump()
  }

  get isCaughtUp(): boolean {
    return this.live
  }

  /** The reader can take more. */
  grant(bytes: number, maxBytes: number): void {
    this.credit = Math.min(this.credit + bytes, maxBytes)
    this.pump()
  }

  /** Reads on from the position until it has caught up or must wait for credit or for its socket. */
  pump(): void {
    if (this.pumping || this.live || this.closed) return
    this.pumping = true
    void this.catchUp()
  }

  finish(): void {
    this.live = false
    this.pump()
  }

  /** Ends it; with an error, the reader is told why. */
  close(error: LitetopicError | null): void {
    if (this.closed) return
    this.closed = true
    this.live = false
    leave(this.attachment.scopes, 'subscriptions')
    this.attachment.subscriptions?.delete(this)
    this.topic.removeReader(this)
    if (error !== null) this.client.endSubscription(this.id, error)
    this.onClose()
  }

  private async catchUp(): Promise<void> {
    const { state } = this.topic
    try {
      for (let reads = 1; !this.closed; reads++) {
        if (this.hasAll) {
          this.close(closedError(this.topic, this.shard.incarnation))
          return
        }
        if (this.credit <= 0) return
        if (this.client.clogged) return this.waitForSocket()
        // Who deletes the topic ends its subscriptions, when that is durable.
        if (this.topic.end !== null) return
        if (this.position >= state.committedTo) {
          this.live = true
          return
        }
        if (this.isTrimmed) throw this.trimmedError()
        const memory = this.shard.readMemory(state, this.position)
        this.send(memory ?? (await this.shard.readChunk(state, this.position)), state.committedTo)
        if (memory !== null && reads % READS_PER_TURN === 0) await new Promise<void>((turn) => setImmediate(turn))
      }
    } catch (error) {
      if (this.topic.end === null) this.close(this.isTrimmed ? this.trimmedError() : asLitetopicError(error))
    } finally {
      // Here, and not when the promise settles: a credit that comes right behind must find it done.
      this.pumping = false
    }
  }

  /** Is the topic closed, and has this reader got everything? */
  private get hasAll(): boolean {
    const { end, state } = this.topic
    return end === null && state.closeCommitted && this.position >= state.committedTo
  }

  /** Have the records that come next been trimmed, of a topic that is still there? */
  private get isTrimmed(): boolean {
    return this.topic.end === null && this.position < this.topic.state.firstOffset
  }

  private trimmedError(): LitetopicError {
    return endedError(this.topic, 'trimmed', this.shard.incarnation)
  }

  private waitForSocket(): void {
    if (this.waiting) return
    this.waiting = true
    this.client.whenUnclogged(() => {
      this.waiting = false
      this.pump()
    })
  }

  private send(batches: Uint8Array, committedTo: number): void {
    // The socket may have filled up while the table was read.
    if (this.closed || this.client.clogged) return
    const before = this.position
    // While the table was read, what it read may have been trimmed.
    if (this.isTrimmed) throw this.trimmedError()
    if (this.raw) this.sendRaw(batches, committedTo)
    else {
      coalesce(batches, this.position, committedTo, (bytes, from, to, next) => {
        this.client.deliver(this.id, 0, bytes, from, to)
        this.counts.gave('stored', next - this.position, to - from)
        this.position = next
        this.credit -= to - from
        return this.credit > 0 && !this.client.clogged
      })
    }
    if (this.position === before) {
      throw new LitetopicError('STORE_CORRUPT', `topic ${this.topic.name} has no record at offset ${before}`, {
        topic: this.topic.name,
        offset: before,
      })
    }
  }

  private sendRaw(batches: Uint8Array, committedTo: number): void {
    const batch = new BatchReader(new ByteReader(batches))
    while (this.credit > 0 && !this.client.clogged && batch.advance() && batch.base < committedTo) {
      if (batch.next <= this.position) continue
      if (batch.base > this.position) return
      this.client.deliver(this.id, 0, batches, batch.start, batch.end)
      this.counts.gave('stored', batch.next - this.position, batch.end - batch.start)
      this.position = batch.next
      this.credit -= batch.end - batch.start
    }
  }
}
