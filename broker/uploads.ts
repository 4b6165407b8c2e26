/**
 * All uploads under way, and their end: committed, abandoned, expired, or gone with their topic. What is not committed is
 * deleted, whatever happens: a start finds the uploads that there were, gives each its full time, and deletes those whose
 * topic is gone.
 */

import { asLitetopicError, checkId, type DataTag, LIMITS, LitetopicError, type RecordParts } from '../protocol/index.ts'
import { findRecordId, recentUpload, type Shard, type StoredUpload } from '../storage/index.ts'
import { admitUpload } from './admission.ts'
import type { Clock } from './clock.ts'
import type { CommitItem } from './commit-item.ts'
import { checkOpen } from './outcomes.ts'
import { partPassed } from './part-garbage.ts'
import { PartSlots } from './part-slots.ts'
import type { Registry } from './registry.ts'
import { Timers } from './timers.ts'
import type { Attachment, Topic } from './topic.ts'
import { type PartFrame, tooLarge, Upload } from './upload.ts'

export interface UploadsOptions {
  readonly shard: Shard<CommitItem>
  readonly registry: Registry
  readonly clock: Clock
  /** The largest content of a message. */
  readonly maxMessageBytes: number
  readonly report: (error: LitetopicError) => void
}

export interface UploadRequest {
  readonly uploadId: string
  readonly tag: DataTag
  readonly id?: string
  readonly size?: number
}

/** What `upload` is answered: how far it is, or where its message lies already. */
interface Begun {
  readonly storedParts: number
  readonly offset: number | null
}

export class Uploads {
  private readonly options: UploadsOptions
  private readonly slots: PartSlots
  private readonly timers: Timers<Upload>
  /** By epoch, then by id. */
  private readonly byEpoch = new Map<number, Map<string, Upload>>()
  private open = 0
  /** What is under way about an upload, by its key: one thing after the other. */
  private readonly turns = new Map<string, Promise<void>>()
  private found: Promise<void> | null = null
  private stopped = false

  constructor(options: UploadsOptions) {
    this.options = options
    this.slots = new PartSlots(options.clock, LIMITS.partsPerConnection)
    this.timers = new Timers(options.clock, (upload) => this.look(upload))
  }

  /** Finds the uploads of before, once. Those of a topic that is gone are deleted; the others get their full time. */
  start(): Promise<void> {
    this.found ??= this.find().catch((error: unknown) => this.options.report(asLitetopicError(error)))
    return this.found
  }

  /** Resolves when nothing is begun or deleted any more. */
  async stop(): Promise<void> {
    this.stopped = true
    this.timers.stop()
    this.slots.stop()
    await this.found
    await Promise.all(this.turns.values())
  }

  /** Begins an upload or goes on with it. Grants follow `begun`. */
  async begin(attachment: Attachment, request: UploadRequest): Promise<Begun> {
    const { uploadId, id, size } = request
    checkId(uploadId, 'upload id')
    if (id !== undefined) checkId(id, 'record id')
    await this.start()
    const { epoch } = attachment.topic.state
    if (size !== undefined) this.checkSize(attachment, size, this.get(epoch, uploadId))
    return this.inTurn(epoch, uploadId, async () => {
      checkWriter(attachment)
      const { state } = attachment.topic
      const known = this.get(epoch, uploadId)
      const own = await this.committedAt(attachment.topic, uploadId)
      const { table } = this.options.shard.store
      const offset = own ?? (id === undefined ? null : await findRecordId(table, state, id))
      checkWriter(attachment)
      if (offset !== null) {
        if (own === null && known?.producerId === attachment.uploader) await this.removeUnused(known as Upload)
        await this.options.shard.log.whenAllDurable()
        return { storedParts: 0, offset }
      }
      const upload = known ?? (await this.create(attachment, request))
      if (upload.producerId !== attachment.uploader || upload.tag !== request.tag) throw taken(uploadId)
      // Parts that came before, by another connection perhaps, are on their way to the table.
      upload.leave()
      await upload.idle()
      checkWriter(attachment)
      if (upload.isOver) throw unknownUpload(attachment.topic, uploadId)
      upload.attach(attachment, size)
      this.touch(upload)
      return { storedParts: upload.parts, offset: null }
    })
  }

  /** The client knows what `begin` answered: it may be sent grants. */
  begun(attachment: Attachment, uploadId: string): void {
    const upload = this.get(attachment.topic.state.epoch, uploadId)
    if (upload?.attachment === attachment) upload.askForGrant()
  }

  /** Stores a part, whose bytes are copied at once; resolves when it is durable. */
  async part(attachment: Attachment, frame: PartFrame): Promise<Record<never, never>> {
    const { parts } = this.options.shard
    const { topic } = attachment
    if (topic.ended !== null) throw topic.ended
    const { epoch } = topic.state
    const upload = this.get(epoch, frame.uploadId)
    if (upload === undefined || upload.attachment !== attachment) throw unknownUpload(topic, frame.uploadId)
    if (attachment.scopes.length > 0) this.checkSize(attachment, upload.chargedBytes + frame.bytes.length, upload)
    const slot = upload.admit(frame)
    const { length } = frame.bytes
    this.touch(upload)
    partPassed(length)
    const written = parts.write(epoch, frame.uploadId, frame.index, frame.bytes, () => !upload.isOver)
    // Not awaited here: the message that the bytes lie in would be kept until then.
    return written.then(
      () => {
        upload.settled(slot, length, true)
        return {}
      },
      (error: unknown) => {
        upload.settled(slot, length, false)
        throw error
      },
    )
  }

  /** Deletes an upload that is not committed. */
  async abandon(attachment: Attachment, uploadId: string): Promise<Record<never, never>> {
    await this.start()
    const { topic } = attachment
    const { epoch } = topic.state
    await this.inTurn(epoch, uploadId, async () => {
      if (topic.ended !== null) throw topic.ended
      const upload = this.get(epoch, uploadId)
      if (upload === undefined) return
      if (upload.producerId !== attachment.uploader) throw taken(uploadId)
      if ((await this.committedAt(topic, uploadId)) !== null) this.forget(upload)
      else await this.removeUnused(upload)
    })
    return {}
  }

  /** Offset of the record that has the upload as its content; null if there is none. What uploads there are is known then. */
  async committed(topic: Topic, uploadId: string): Promise<number | null> {
    await this.start()
    return this.committedAt(topic, uploadId)
  }

  private async committedAt({ state }: Topic, uploadId: string): Promise<number | null> {
    const recent = recentUpload(state, uploadId)
    return recent ?? (await this.options.shard.parts.stored(state.epoch, uploadId)).offset
  }

  /** The upload that the record is to make visible, which must be whole. Throws UPLOAD_UNKNOWN or BAD_REQUEST. */
  whole(attachment: Attachment, { uploadId, size }: RecordParts, tag: DataTag): Upload {
    const { topic, uploader } = attachment
    const upload = this.get(topic.state.epoch, uploadId)
    // One that is being deleted is known still, and must not be made visible.
    if (upload === undefined || upload.isOver || upload.producerId !== uploader || upload.bytes !== size) {
      throw unknownUpload(topic, uploadId)
    }
    if (upload.tag !== tag) throw taken(uploadId)
    return upload
  }

  /** Its record was assigned: it is no upload any more. */
  forget(upload: Upload): void {
    const { epoch, uploadId } = upload.stored
    upload.end()
    this.timers.remove(upload.bucket, upload)
    const uploads = this.byEpoch.get(epoch)
    if (uploads?.get(uploadId) !== upload) return
    uploads.delete(uploadId)
    if (uploads.size === 0) this.byEpoch.delete(epoch)
    this.open--
  }

  /** The message was stored before, with another upload: this one is superfluous. */
  discard({ topic, uploader }: Attachment, uploadId: string): void {
    const upload = this.get(topic.state.epoch, uploadId)
    if (upload?.producerId === uploader) void this.removeLater(upload as Upload)
  }

  /** The topic was deleted: nothing more is written of its uploads, and what was goes once the deletion is durable. */
  topicEnded(topic: Topic): void {
    const { shard } = this.options
    const uploads = [...(this.byEpoch.get(topic.state.epoch)?.values() ?? [])]
    for (const upload of uploads) this.forget(upload)
    if (uploads.length === 0) return
    void shard.log.whenAllDurable().then(
      () => {
        for (const upload of uploads) void this.removeLater(upload)
      },
      // The deletion failed: the next start finds them.
      () => undefined,
    )
  }

  private get(epoch: number, uploadId: string): Upload | undefined {
    return this.byEpoch.get(epoch)?.get(uploadId)
  }

  private checkSize(attachment: Attachment, size: number, upload: Upload | undefined): void {
    if (size > this.options.maxMessageBytes) throw tooLarge(size, this.options.maxMessageBytes)
    for (const scope of attachment.scopes) scope.check('messageBytes', size)
    admitUpload(attachment.scopes, size, upload?.chargedBytes ?? 0)
  }

  private async create(attachment: Attachment, { uploadId, tag }: UploadRequest): Promise<Upload> {
    const { name, state } = attachment.topic
    const { shard, clock } = this.options
    const { epoch } = state
    checkOpen(attachment.topic)
    await this.makeRoom('uploadsPerTopic', () => this.byEpoch.get(epoch)?.size ?? 0, [epoch])
    await this.makeRoom('uploadsOpen', () => this.open, this.byEpoch.keys())
    checkWriter(attachment)
    const producerId = attachment.uploader as string
    const stored = { epoch, uploadId, name, producerId, tag, startedMs: clock.wallMs() }
    const upload = this.add(stored)
    try {
      await shard.parts.begin(stored, () => !upload.isOver)
    } catch (error) {
      this.forget(upload)
      throw error
    }
    return upload
  }

  /** At the bound, the upload goes that nobody has sent for longest: its client is gone, and may never come back. */
  private async makeRoom(
    limit: 'uploadsPerTopic' | 'uploadsOpen',
    count: () => number,
    epochs: Iterable<number>,
  ): Promise<void> {
    if (count() < LIMITS[limit]) return
    let oldest: Upload | null = null
    for (const epoch of epochs) {
      for (const upload of this.byEpoch.get(epoch)?.values() ?? []) {
        const isLeft = upload.attachment === null && !upload.isOver
        if (isLeft && (oldest === null || upload.lastMs < oldest.lastMs)) oldest = upload
      }
    }
    if (oldest !== null) await this.removeLater(oldest)
    if (count() >= LIMITS[limit]) throw tooMany(limit, count())
  }

  private add(stored: StoredUpload): Upload {
    const { epoch, uploadId } = stored
    const upload = new Upload(stored, this.slots, this.options.maxMessageBytes)
    let uploads = this.byEpoch.get(epoch)
    if (uploads === undefined) {
      uploads = new Map()
      this.byEpoch.set(epoch, uploads)
    }
    uploads.set(uploadId, upload)
    this.open++
    this.touch(upload)
    this.schedule(upload)
    return upload
  }

  private touch(upload: Upload): void {
    upload.lastMs = this.options.clock.monotonicMs()
  }

  private schedule(upload: Upload): void {
    if (this.stopped) return
    upload.bucket = Timers.bucketOf(upload.lastMs + LIMITS.uploadIdleMs)
    this.timers.add(upload.bucket, upload)
  }

  /** Its time may be over. */
  private look(upload: Upload): void {
    if (upload.isOver || this.stopped) return
    if (upload.lastMs + LIMITS.uploadIdleMs > this.options.clock.monotonicMs()) this.schedule(upload)
    else void this.removeLater(upload)
  }

  /** Resolves when it is deleted, or could not be. */
  private removeLater(upload: Upload): Promise<void> {
    const { epoch, uploadId, name } = upload.stored
    const wasOver = upload.isOver
    upload.end()
    return this.inTurn(epoch, uploadId, async () => {
      const topic = wasOver ? null : await this.topicOf(upload)
      if (topic !== null && (await this.committedAt(topic, uploadId)) !== null) this.forget(upload)
      else await this.remove(upload)
    }).catch((error: unknown) => {
      const { code, message, details } = asLitetopicError(error)
      this.forget(upload)
      this.options.report(new LitetopicError(code, `upload ${uploadId} of topic ${name}: ${message}`, details, error))
    })
  }

  /** While the table was asked, a record may have made it visible: what was forgotten then is not deleted. */
  private async removeUnused(upload: Upload): Promise<void> {
    const { epoch, uploadId } = upload.stored
    if (this.get(epoch, uploadId) === upload) await this.remove(upload)
  }

  private async remove(upload: Upload): Promise<void> {
    const { epoch, uploadId } = upload.stored
    upload.end()
    if (this.stopped) return
    // Still known while it is deleted: it cannot be begun anew until then.
    await this.options.shard.parts.remove(epoch, uploadId)
    this.forget(upload)
  }

  /** The incarnation of the topic that the upload is for; null if it is gone. */
  private async topicOf({ stored }: Upload): Promise<Topic | null> {
    const topic = await this.options.registry.find(stored.name)
    return topic?.state.epoch === stored.epoch && topic.end === null ? topic : null
  }

  private async find(): Promise<void> {
    const { shard, report } = this.options
    let after: StoredUpload | null = null
    do {
      const page: Awaited<ReturnType<typeof shard.parts.uploads>> = await shard.parts.uploads(
        after,
        LIMITS.pageItems,
        report,
      )
      for (const stored of page.uploads) await this.findOne(stored)
      after = page.last
    } while (after !== null && !this.stopped)
  }

  private async findOne(stored: StoredUpload): Promise<void> {
    if (this.stopped) return
    try {
      const { parts, bytes, offset } = await this.options.shard.parts.stored(stored.epoch, stored.uploadId)
      const upload = this.add(stored)
      Object.assign(upload, { parts, bytes })
      const topic = await this.topicOf(upload)
      if (topic === null) void this.removeLater(upload)
      else if (offset !== null || recentUpload(topic.state, stored.uploadId) !== null) this.forget(upload)
    } catch (error) {
      this.options.report(asLitetopicError(error))
    }
  }

  private inTurn<T>(epoch: number, uploadId: string, work: () => Promise<T>): Promise<T> {
    const key = `${epoch} ${uploadId}`
    const result = (this.turns.get(key) ?? Promise.resolve()).then(work)
    const done = result.then(
      () => undefined,
      () => undefined,
    )
    this.turns.set(key, done)
    void done.then(() => {
      if (this.turns.get(key) === done) this.turns.delete(key)
    })
    return result
  }
}

/** May it upload now? Throws GONE, UNKNOWN_HANDLE, BAD_REQUEST or FENCED. */
function checkWriter(attachment: Attachment): void {
  const { topic, uploader, detached } = attachment
  if (topic.ended !== null) throw topic.ended
  if (detached) throw new LitetopicError('UNKNOWN_HANDLE', 'the handle was detached meanwhile')
  if (uploader === null) {
    throw new LitetopicError(
      'BAD_REQUEST',
      `this attachment of topic ${topic.name} may not write: it named no producer`,
    )
  }
  attachment.checkFence()
}

function unknownUpload({ name }: Topic, uploadId: string): LitetopicError {
  return new LitetopicError('UPLOAD_UNKNOWN', `topic ${name} has no upload ${uploadId}, or not all of it`, { uploadId })
}

function taken(uploadId: string): LitetopicError {
  const what = `upload ${uploadId} is of another producer or another tag: use an id of its own for each`
  return new LitetopicError('BAD_REQUEST', what, { uploadId })
}

function tooMany(limit: 'uploadsPerTopic' | 'uploadsOpen', present: number): LitetopicError {
  const details = { limit, value: present + 1, bound: LIMITS[limit] }
  return new LitetopicError('LIMIT_EXCEEDED', `${present} uploads are under way: end some first`, details)
}
