/** Checkpoints of one thread as entries of its session's context: each without the values of its channels, which lie under their versions. */

import {
  type ChannelVersions,
  type Checkpoint,
  type CheckpointMetadata,
  type CheckpointPendingWrite,
  type DeltaChannelHistory,
  maxChannelVersion,
  type SerializerProtocol,
  TASKS,
} from '@langchain/langgraph-checkpoint'
import type { Session } from '../index.ts'
import { checkpointName, checkpointPrefix, valueName } from './names.ts'
import { changesOf, load, readEntry, store } from './values.ts'
import { writesOn } from './writes.ts'

/** A checkpoint as it is stored. */
export interface StoredCheckpoint {
  readonly ns: string
  /** Id of the one that it follows. */
  readonly parent?: string
  readonly checkpoint: Omit<Checkpoint, 'channel_values'>
  readonly metadata: CheckpointMetadata
}

/** A checkpoint as LangGraph has it. */
export interface WholeCheckpoint {
  readonly checkpoint: Checkpoint
  readonly pendingWrites: CheckpointPendingWrite[]
}

export class Checkpoints {
  private readonly session: Session
  private readonly serde: SerializerProtocol

  constructor(session: Session, serde: SerializerProtocol) {
    this.session = session
    this.serde = serde
  }

  /** Stores the values of channels with new versions, and the checkpoint behind them; in one append if that holds them. */
  async put(
    stored: StoredCheckpoint,
    values: Readonly<Record<string, unknown>>,
    newVersions: ChannelVersions,
  ): Promise<void> {
    const { ns, checkpoint } = stored
    const changed = Object.entries(newVersions).filter(([channel]) => Object.hasOwn(values, channel))
    const changes = await Promise.all(
      changed.map(async ([channel, version]) =>
        changesOf(valueName(ns, channel, version), await this.serde.dumpsTyped(values[channel])),
      ),
    )
    const last = changesOf(checkpointName(ns, checkpoint.id), await this.serde.dumpsTyped(stored))
    await store(this.session, [...changes.flat(), ...last])
  }

  /** That of the id, or the newest of the namespace if it is empty. */
  async find(ns: string, id: string): Promise<StoredCheckpoint | null> {
    if (id === '') return (await this.page(checkpointPrefix(ns), checkpointPrefix(ns), 1))[0] ?? null
    const found = await load(this.session, this.serde, checkpointName(ns, id))
    return found === null ? null : (found.value as StoredCheckpoint)
  }

  /** Checkpoints whose names begin with the prefix, behind a name: the newest of a namespace first. */
  async page(prefix: string, after: string, limit: number): Promise<StoredCheckpoint[]> {
    const found: StoredCheckpoint[] = []
    for await (const [name, entry] of this.session.context.pages({ after, limit })) {
      if (!name.startsWith(prefix)) break
      found.push((await readEntry(this.session, this.serde, name, entry)) as StoredCheckpoint)
    }
    return found
  }

  /** With the values of its channels, and what was written on top of it. */
  async whole({ ns, parent, checkpoint: bare }: StoredCheckpoint): Promise<WholeCheckpoint> {
    const versions = Object.entries(bare.channel_versions)
    const [values, pendingWrites, sends] = await Promise.all([
      Promise.all(versions.map(([channel, version]) => this.value(ns, channel, version))),
      this.writes(ns, bare.id),
      // Before version 4 what tasks had sent was kept with the checkpoint before.
      bare.v < 4 && parent !== undefined ? this.writes(ns, parent) : null,
    ])
    const known = versions.flatMap(([channel], i) => {
      const found = values[i]
      return found == null ? [] : [[channel, found.value]]
    })
    const checkpoint: Checkpoint = { ...bare, channel_values: Object.fromEntries(known) }
    return { checkpoint: sends === null ? checkpoint : withSends(checkpoint, sends), pendingWrites }
  }

  /**
   * The nearest value of each delta channel before a checkpoint, and what was written since. Goes from parent to parent; the value of
   * one is what it was before what was written on top of it.
   */
  async history(
    { ns, parent }: StoredCheckpoint,
    channels: readonly string[],
  ): Promise<Map<string, DeltaChannelHistory>> {
    const histories = new Map<string, DeltaChannelHistory>(channels.map((channel) => [channel, { writes: [] }]))
    const missing = new Set(channels)
    for (let id = parent; id !== undefined && missing.size > 0; ) {
      const [stored, writes] = await Promise.all([this.find(ns, id), this.writes(ns, id)])
      if (stored === null) break
      const versions = stored.checkpoint.channel_versions
      // By task; the order in which a task wrote stays.
      const ordered = [...writes].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      for (const channel of [...missing]) {
        const history = histories.get(channel) as DeltaChannelHistory
        history.writes.unshift(...ordered.filter(([, written]) => written === channel))
        const version = versions[channel]
        const seed = version === undefined ? null : await this.value(ns, channel, version)
        if (seed === null) continue
        history.seed = seed.value
        missing.delete(channel)
      }
      id = stored.parent
    }
    return histories
  }

  /** Null if the channel has none in that version. */
  private value(ns: string, channel: string, version: number | string): Promise<{ readonly value: unknown } | null> {
    return load(this.session, this.serde, valueName(ns, channel, version))
  }

  private writes(ns: string, id: string): Promise<CheckpointPendingWrite[]> {
    return writesOn(this.session, this.serde, ns, id)
  }
}

function withSends(checkpoint: Checkpoint, writes: readonly CheckpointPendingWrite[]): Checkpoint {
  const sends = writes.filter(([, channel]) => channel === TASKS).map(([, , value]) => value)
  const versions = Object.values(checkpoint.channel_versions)
  return {
    ...checkpoint,
    channel_values: { ...checkpoint.channel_values, [TASKS]: sends },
    channel_versions: {
      ...checkpoint.channel_versions,
      [TASKS]: versions.length > 0 ? maxChannelVersion(...versions) : 1,
    },
  }
}
