/**
 * What records change besides the log: ids seen, context versions, checkpoints, streams, uploads that became messages. Until a flush has put them into
 * the table's indexes they live here, beside the tail that holds their records.
 */

import { ByteReader, contextOpName, isStreamEnd, KIND, RecordWalker, streamStateName } from '../protocol/index.ts'
import { changeBytes, type Effects, type StreamState, type TopicState } from './topic-state.ts'

/** Adds the effects of the records in `bytes[from, to)`, the first of which has the offset `base`; `slot` is the producer's, or -1. */
export function addEffects(
  state: TopicState,
  effects: Effects,
  bytes: Uint8Array,
  from: number,
  to: number,
  base: number,
  slot: number,
): void {
  const walker = new RecordWalker(new ByteReader(bytes, from, to))
  for (let offset = base; walker.next(); offset++) {
    const extras = walker.extras()
    const id = extras?.id
    if (id !== undefined) {
      effects.ids ??= new Map()
      effects.ids.set(id, offset)
    }
    if (extras?.parts !== undefined) {
      changeBytes(state, extras.parts.size)
      effects.uploads ??= new Map()
      effects.uploads.set(extras.parts.uploadId, offset)
    }
    if (walker.kind === KIND.context) addContext(effects, walker, offset)
    if (walker.kind === KIND.checkpoint) {
      effects.checkpoints ??= []
      effects.checkpoints.push({ name: walker.name(), offset })
    }
    if (walker.kind === KIND.stream) addStream(state, effects, walker, offset, slot)
  }
}

function addContext(effects: Effects, walker: RecordWalker, offset: number): void {
  const data = walker.recordData()
  effects.context ??= []
  effects.context.push({
    name: walker.name(),
    offset,
    op: contextOpName(walker.code),
    data: data.tag === 'bytes' ? { tag: 'bytes', value: data.value.slice() } : data,
  })
}

function addStream(state: TopicState, effects: Effects, walker: RecordWalker, offset: number, slot: number): void {
  const streamId = walker.name()
  const name = streamStateName(walker.code)
  const detail = walker.dataFrom === walker.dataTo ? null : walker.text()
  const known = state.openStreams?.get(streamId)
  // The broker's own `resumed` tells readers that the writer is back; the fence that it has stays.
  const grants = name === 'open' || (name === 'resumed' && slot >= 0)
  const stream: StreamState = known ?? {
    streamId,
    state: name,
    openOffset: offset,
    fence: offset,
    lastOffset: offset,
    detail,
    writerSlot: slot,
  }
  stream.state = name
  stream.lastOffset = offset
  stream.detail = detail
  if (grants) {
    stream.fence = offset
    stream.writerSlot = slot
  }
  if (isStreamEnd(name)) {
    state.openStreams?.delete(streamId)
    effects.ended ??= new Map()
    effects.ended.set(streamId, stream)
  } else {
    state.openStreams ??= new Map()
    state.openStreams.set(streamId, stream)
  }
}
