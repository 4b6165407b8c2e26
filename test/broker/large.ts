/** Large messages as a raw peer sends and reads them: parts as they are granted, a commit, and fetches. */

import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { type DataTag, LIMITS, NO_DATA, type ReplyOf, UP, writeMessage } from '../../protocol/index.ts'
import type { Store } from '../../storage/index.ts'
import { INDEX } from '../../storage/store.ts'
import type { Fill, Peer } from './peer.ts'

/** Content of so many bytes, which differs from place to place. */
export function contentOf(size: number, seed = 1): Buffer {
  const content = Buffer.alloc(size)
  for (let i = 0; i < size; i++) content[i] = (i * 31 + (i >>> 8) * 7 + (i >>> 16) * 13 + seed) & 0xff
  return content
}

/** The parts of a content. */
export function partsOf(content: Uint8Array): Uint8Array[] {
  const parts: Uint8Array[] = []
  for (let at = 0; at < content.length; at += LIMITS.partBytes) parts.push(content.subarray(at, at + LIMITS.partBytes))
  return parts
}

export interface UploadPlace {
  readonly handle?: number
  readonly uploadId: string
  readonly tag?: DataTag
  readonly id?: string
  readonly size?: number
}

export function begin(peer: Peer, place: UploadPlace): Promise<ReplyOf<typeof UP.upload>> {
  const { handle = 0, uploadId, tag = 'bytes', id, size } = place
  peer.grants.set(uploadId, 0)
  return peer.ask(UP.upload, handle, uploadId, { tag, id, size })
}

/** Sends a part whether it is granted or not. */
export function sendPart(
  peer: Peer,
  place: UploadPlace,
  index: number,
  bytes: Uint8Array,
  crc = crc32(bytes),
): Promise<unknown> {
  return peer.ask(UP.part, place.handle ?? 0, place.uploadId, index, crc, bytes)
}

/** Waits for a grant of the upload, and uses it. */
export async function granted(peer: Peer, uploadId: string): Promise<void> {
  await peer.until(() => (peer.grants.get(uploadId) ?? 0) > 0)
  peer.grants.set(uploadId, (peer.grants.get(uploadId) ?? 0) - 1)
}

/** Begins, and sends the parts as they are granted; resolves when all, or the first `upTo` of them, are durable. */
export async function upload(
  peer: Peer,
  place: UploadPlace,
  content: Uint8Array,
  upTo = Number.POSITIVE_INFINITY,
): Promise<void> {
  const { storedParts } = await begin(peer, place)
  const answers: Promise<unknown>[] = []
  const parts = partsOf(content)
  for (let index = storedParts; index < Math.min(parts.length, upTo); index++) {
    await granted(peer, place.uploadId)
    answers.push(sendPart(peer, place, index, parts[index] as Uint8Array))
  }
  await Promise.all(answers)
}

/** The record that makes an upload visible. */
export function large(uploadId: string, content: Uint8Array, tag: DataTag = 'bytes', id?: string): Fill {
  const sha256 = createHash('sha256').update(content).digest()
  const data = tag === 'bytes' ? NO_DATA : { tag, value: '' }
  return (out) => writeMessage(out, data, { id, parts: { size: content.length, sha256, uploadId } })
}

/** Reads the content at an offset from a byte on, `inFlight` requests at a time. */
export async function fetchAll(peer: Peer, offset: number, from = 0, handle = 0): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for (let at = from; ; ) {
    const { bytes, size } = await peer.ask(UP.fetch, handle, offset, at, LIMITS.partBytes)
    pieces.push(bytes)
    at += bytes.length
    if (at >= size) return Buffer.concat(pieces)
  }
}

/** How many keys the table has of parts and of uploads. */
export async function keysLeft(store: Store): Promise<{ parts: number; uploads: number }> {
  const count = async (index: number): Promise<number> =>
    (await store.table.scan({ gte: Buffer.of(index), lt: Buffer.of(index + 1), limit: 100_000 })).length
  return { parts: await count(INDEX.part), uploads: await count(INDEX.upload) }
}

export const NOTHING = { parts: 0, uploads: 0 }
