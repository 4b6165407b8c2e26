/**
 * What happens when a commit is durable: first acknowledge, then deliver. Items come in the order of their operations.
 * When a commit fails, nothing is acknowledged or delivered, and each waiting client is told.
 */

import type { LitetopicError } from '../protocol/index.ts'
import type { CommitItem } from './commit-item.ts'
import type { Attachment, Topic } from './topic.ts'

/** An append of a client, or of the broker itself when there is no attachment. */
export class AppendItem implements CommitItem {
  private readonly topic: Topic
  private readonly attachment: Attachment | null
  private readonly producerEpoch: number
  private readonly sequence: number
  private readonly base: number
  private readonly next: number
  /** Where its batch lies, once it is written. */
  position = 0
  size = 0

  constructor(
    topic: Topic,
    attachment: Attachment | null,
    producerEpoch: number,
    sequence: number,
    base: number,
    count: number,
  ) {
    this.topic = topic
    this.attachment = attachment
    this.producerEpoch = producerEpoch
    this.sequence = sequence
    this.base = base
    this.next = base + count
  }

  committed(): void {
    const { topic, attachment } = this
    topic.state.committedTo = this.next
    if (attachment !== null && !attachment.detached) {
      attachment.client.ack(attachment.handle, this.producerEpoch, this.sequence, this.base, false)
    }
    const { subscriptions, crowd } = topic
    if (crowd !== null) {
      crowd.offer(this.position, this.size, this.base, this.next)
      return
    }
    for (let i = subscriptions.length - 1; i >= 0; i--) {
      subscriptions[i]?.offer(this.position, this.size, this.base, this.next)
    }
  }

  failed(error: LitetopicError): void {
    const { attachment } = this
    if (attachment === null || attachment.detached) return
    attachment.client.refuse(attachment.handle, this.producerEpoch, this.sequence, error)
  }
}

/** A repeat that waits for the original: acknowledged with the offset that it has. */
export class RepeatItem implements CommitItem {
  private readonly attachment: Attachment
  private readonly producerEpoch: number
  private readonly sequence: number
  private readonly base: number

  constructor(attachment: Attachment, producerEpoch: number, sequence: number, base: number) {
    this.attachment = attachment
    this.producerEpoch = producerEpoch
    this.sequence = sequence
    this.base = base
  }

  committed(): void {
    const { client, handle, detached } = this.attachment
    if (!detached) client.ack(handle, this.producerEpoch, this.sequence, Math.max(this.base, 0), true)
  }

  failed(error: LitetopicError): void {
    const { client, handle, detached } = this.attachment
    if (!detached) client.refuse(handle, this.producerEpoch, this.sequence, error)
  }
}

/** Two items of one commit as one: readers are served before whoever waits is answered. */
export class InOrder implements CommitItem {
  private readonly delivery: AppendItem
  private readonly answer: CommitItem

  constructor(delivery: AppendItem, answer: CommitItem) {
    this.delivery = delivery
    this.answer = answer
  }

  committed(): void {
    this.delivery.committed()
    this.answer.committed()
  }

  failed(error: LitetopicError): void {
    this.answer.failed(error)
  }
}

/** Calls back when the commit is durable or has failed. */
export class CallbackItem implements CommitItem {
  private readonly done: () => void
  private readonly fail: (error: LitetopicError) => void

  constructor(done: () => void, fail: (error: LitetopicError) => void) {
    this.done = done
    this.fail = fail
  }

  committed(): void {
    this.done()
  }

  failed(error: LitetopicError): void {
    this.fail(error)
  }
}
