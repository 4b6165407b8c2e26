/**
 * Checkpoints of LangGraph in litetopic: each thread is a topic, and everything of it a named entry of the topic's context, so that what
 * is asked for is read by its name, and nothing else is. See README.md here for the layout.
 */

import type { RunnableConfig } from '@langchain/core/runnables'
import {
  BaseCheckpointSaver,
  type ChannelVersions,
  type Checkpoint,
  type CheckpointListOptions,
  type CheckpointMetadata,
  type CheckpointTuple,
  type DeltaChannelHistory,
  type PendingWrite,
  type SerializerProtocol,
} from '@langchain/langgraph-checkpoint'
import { type Broker, LitetopicError } from '../index.ts'
import { Checkpoints, type StoredCheckpoint } from './checkpoints.ts'
import { checkpointName, checkpointPrefix } from './names.ts'
import { Threads } from './threads.ts'
import { storeWrites } from './writes.ts'

export interface LitetopicSaverOptions {
  /** What the topics of threads begin with: whole segments. Default `threads`. */
  readonly prefix?: string
  /** Of threads that this creates: how long they outlive the last one who has them open, in ms. Default `forever`: until `deleteThread`. */
  readonly lingerMs?: number | 'forever'
  /** How values become bytes. Default: LangGraph's own way, JSON. */
  readonly serde?: SerializerProtocol
}

interface Place {
  readonly threadId: string
  readonly ns: string
  /** Empty: the newest. */
  readonly id: string
}

/** Of a listing that may have to pass over some. */
const PAGE_ITEMS = 50

/**
 * What was put is durable when the call resolves. Everything rejects with what ends the broker's connection; with BAD_REQUEST where the config
 * does not say what is needed; with BAD_NAME for a thread or checkpoint whose id is too long for a name; with BAD_VALUE for an entry
 * that somebody else has put there.
 */
export class LitetopicSaver extends BaseCheckpointSaver<number> {
  private readonly threads: Threads

  /** The broker stays the caller's to close. */
  constructor(broker: Broker, options: LitetopicSaverOptions = {}) {
    super(options.serde)
    this.threads = new Threads(broker, options.prefix ?? 'threads', options.lingerMs ?? 'forever')
  }

  /** The next whole number and a random fraction: histories of a thread that part give no two values the same version. */
  override getNextVersion(current: number | undefined): number {
    return Math.floor(current ?? 0) + 1 + Math.random()
  }

  /** The checkpoint of that id, or else the newest of its namespace: that with the greatest id, whoever has put it. */
  async getTuple(config: RunnableConfig): Promise<CheckpointTuple | undefined> {
    const place = placeOf(config)
    if (place === null) return undefined
    const { threadId, ns, id } = place
    return this.read(threadId, async (checkpoints) => {
      const stored = await checkpoints.find(ns, id)
      return stored === null ? undefined : tupleOf(threadId, stored, checkpoints)
    })
  }

  /** Newest first; where the config does not say which namespace or thread, of all of them, one after the other. */
  async *list(config: RunnableConfig, options: CheckpointListOptions = {}): AsyncGenerator<CheckpointTuple> {
    const { thread_id: thread, checkpoint_id: only } = config.configurable ?? {}
    let left = options.limit ?? Number.POSITIVE_INFINITY
    if (left <= 0) return
    for await (const threadId of thread === undefined ? this.threads.list() : [checkThread(thread)]) {
      for await (const stored of this.stored(threadId, config, options)) {
        if (only !== undefined && only !== stored.checkpoint.id) continue
        const tuple = await this.read(threadId, (checkpoints) => tupleOf(threadId, stored, checkpoints))
        // The thread was deleted meanwhile.
        if (tuple === undefined) break
        yield tuple
        if (--left <= 0) return
      }
    }
  }

  /** Stores the checkpoint, and of its channels the values whose versions are new. */
  async put(
    config: RunnableConfig,
    checkpoint: Checkpoint,
    metadata: CheckpointMetadata,
    newVersions: ChannelVersions,
  ): Promise<RunnableConfig> {
    const { threadId, ns, id: parent } = requirePlace(config, 'a checkpoint')
    const { channel_values: values, ...bare } = checkpoint
    const stored: StoredCheckpoint = { ns, ...(parent !== '' && { parent }), checkpoint: bare, metadata }
    await this.threads.write(threadId, (session) =>
      new Checkpoints(session, this.serde).put(stored, values, newVersions),
    )
    return configOf(threadId, ns, checkpoint.id)
  }

  /** Stores what a task has written on top of a checkpoint, all or nothing. Of a task that writes again the first time counts. */
  async putWrites(config: RunnableConfig, writes: PendingWrite[], taskId: string): Promise<void> {
    const { threadId, ns, id } = requirePlace(config, 'writes')
    if (id === '') throw new LitetopicError('BAD_REQUEST', 'writes belong to a checkpoint: config has no checkpoint_id')
    const dumped = await this.serde.dumpsTyped(writes)
    await this.threads.write(threadId, (session) => storeWrites(session, ns, id, taskId, dumped))
  }

  /** Deletes the thread's topic, with all that is in it. */
  async deleteThread(threadId: string): Promise<void> {
    await this.threads.delete(checkThread(threadId))
  }

  /** What delta channels are made of. */
  override async getDeltaChannelHistory(options: {
    config: RunnableConfig
    channels: string[]
  }): Promise<Record<string, DeltaChannelHistory>> {
    const { config, channels } = options
    const place = placeOf(config)
    const read = async (checkpoints: Checkpoints) => {
      const stored = place === null ? null : await checkpoints.find(place.ns, place.id)
      return stored === null ? undefined : checkpoints.history(stored, channels)
    }
    const found = place === null ? undefined : await this.read(place.threadId, read)
    return Object.fromEntries(channels.map((channel) => [channel, found?.get(channel) ?? { writes: [] }]))
  }

  /** Closes the sessions that it has opened; the broker stays open. */
  close(): Promise<void> {
    return this.threads.close()
  }

  private read<R>(threadId: string, fn: (checkpoints: Checkpoints) => Promise<R>): Promise<R | undefined> {
    return this.threads.read(threadId, (session) => fn(new Checkpoints(session, this.serde)))
  }

  /** Those of a thread that a listing is about. */
  private async *stored(
    threadId: string,
    { configurable }: RunnableConfig,
    { before, filter = {}, limit = PAGE_ITEMS }: CheckpointListOptions,
  ): AsyncGenerator<StoredCheckpoint> {
    const ns: string | undefined = configurable?.checkpoint_ns
    const below: string | undefined = before?.configurable?.checkpoint_id
    const wanted = Object.entries(filter)
    const isPlain = wanted.length === 0 && ns !== undefined && configurable?.checkpoint_id === undefined
    const atOnce = isPlain ? Math.min(limit, PAGE_ITEMS) : PAGE_ITEMS
    const prefix = checkpointPrefix(ns)
    for (let after = ns === undefined || below === undefined ? prefix : checkpointName(ns, below); ; ) {
      const page = await this.read(threadId, (checkpoints) => checkpoints.page(prefix, after, atOnce))
      for (const stored of page ?? []) {
        const { id } = stored.checkpoint
        after = checkpointName(stored.ns, id)
        if (below !== undefined && id >= below) continue
        const metadata: Readonly<Record<string, unknown>> = { ...stored.metadata }
        if (wanted.every(([key, value]) => same(metadata[key], value))) yield stored
      }
      if (page === undefined || page.length < atOnce) return
    }
  }
}

async function tupleOf(threadId: string, stored: StoredCheckpoint, checkpoints: Checkpoints): Promise<CheckpointTuple> {
  const { ns, parent, metadata } = stored
  const { checkpoint, pendingWrites } = await checkpoints.whole(stored)
  const config = configOf(threadId, ns, checkpoint.id)
  const tuple: CheckpointTuple = { config, checkpoint, metadata, pendingWrites }
  return parent === undefined ? tuple : { ...tuple, parentConfig: configOf(threadId, ns, parent) }
}

function configOf(threadId: string, ns: string, id: string): RunnableConfig {
  return { configurable: { thread_id: threadId, checkpoint_ns: ns, checkpoint_id: id } }
}

/** Null if the config names no thread. */
function placeOf({ configurable }: RunnableConfig): Place | null {
  if (configurable?.thread_id === undefined) return null
  return {
    threadId: checkThread(configurable.thread_id),
    ns: configurable.checkpoint_ns ?? '',
    id: configurable.checkpoint_id ?? configurable.thread_ts ?? '',
  }
}

function requirePlace(config: RunnableConfig, what: string): Place {
  const place = placeOf(config)
  if (place !== null) return place
  throw new LitetopicError('BAD_REQUEST', `${what} cannot be stored: config.configurable has no thread_id`)
}

function checkThread(threadId: unknown): string {
  if (typeof threadId === 'string') return threadId
  throw new LitetopicError('BAD_REQUEST', `a thread_id is a string, not ${typeof threadId}`)
}

function same(one: unknown, other: unknown): boolean {
  return one === other || JSON.stringify(one) === JSON.stringify(other)
}
