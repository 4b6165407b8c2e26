/**
 * Seals data so that only who has the key can read it, and only at the place that it was sealed for: AES-256-GCM with a key for each
 * topic and incarnation, derived from the user's, and the place as additional data.
 *
 *     sealed := version:u8 writer:8 sequence:u32 ciphertext      the nonce is writer and sequence
 *     plain  := tag:u8 data                                      tag: 0 text, 1 JSON, 2 bytes
 */

import { LitetopicError, type RecordData } from '../../protocol/index.ts'

/** What is sealed, and where: a kind and the names that go with it. A data of one place does not open at another. */
export type Place =
  | readonly ['message', id: string | null]
  | readonly ['token', streamId: string, part: string]
  | readonly ['end', streamId: string, state: string]
  | readonly ['context', name: string]
  | readonly ['checkpoint', name: string]

/** 32 random bytes, or a CryptoKey for HKDF made of them, which need not be extractable. */
export type SealKey = Uint8Array | WebKey

export interface Opened {
  readonly data: RecordData
  /** Size of the data. */
  readonly bytes: number
  /** Who sealed it: random, of one writer of one part, or one session. */
  readonly writer: string
  /** Of what that writer sealed, from 0. */
  readonly sequence: number
}

const VERSION = 1
const WRITER_BYTES = 8
const NONCE_AT = 1
const NONCE_BYTES = WRITER_BYTES + 4
const SEALED_AT = NONCE_AT + NONCE_BYTES
const GCM_TAG_BYTES = 16
const KEY_BYTES = 32
/** A writer seals no more than this: its numbers end. */
const SEQUENCES = 2 ** 32

const TAGS = ['text', 'json', 'bytes'] as const
const DOMAIN = 'litetopic e2e 1'

/** The platform's, whichever it is. */
export type WebKey = Awaited<ReturnType<typeof crypto.subtle.importKey>>

const utf8 = new TextEncoder()

/** A key for `sealedSession`: 32 random bytes. Keep it where the broker cannot reach it. */
export function generateKey(): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(KEY_BYTES))
}

export class Seal {
  private readonly key: WebKey
  private readonly topic: readonly [name: string, epoch: number]

  private constructor(key: WebKey, topic: readonly [name: string, epoch: number]) {
    this.key = key
    this.topic = topic
  }

  /** Throws BAD_REQUEST for a key that is none. */
  static async of(key: SealKey, name: string, epoch: number): Promise<Seal> {
    const topic = [name, epoch] as const
    const info = utf8.encode(JSON.stringify([DOMAIN, ...topic]))
    const derivation = { name: 'HKDF', hash: 'SHA-256', salt: utf8.encode(DOMAIN), info }
    const aes = { name: 'AES-GCM', length: 256 }
    const derived = await crypto.subtle.deriveKey(derivation, await masterKey(key), aes, false, ['encrypt', 'decrypt'])
    return new Seal(derived, topic)
  }

  async seal(data: RecordData, place: Place, writer: SealWriter): Promise<Uint8Array> {
    const plain = typeof data.value === 'string' ? utf8.encode(data.value) : data.value
    const tagged = new Uint8Array(1 + plain.length)
    tagged[0] = TAGS.indexOf(data.tag)
    tagged.set(plain, 1)
    const sealed = new Uint8Array(SEALED_AT + tagged.length + GCM_TAG_BYTES)
    sealed[0] = VERSION
    const nonce = writer.next()
    sealed.set(nonce, NONCE_AT)
    const cipher = await crypto.subtle.encrypt(this.algorithm(nonce, place), this.key, tagged)
    sealed.set(new Uint8Array(cipher), SEALED_AT)
    return sealed
  }

  /** Rejects with NOT_AUTHENTIC unless it was sealed for this place, with this key. */
  async open(sealed: Uint8Array | undefined, place: Place): Promise<Opened> {
    if (sealed === undefined || sealed[0] !== VERSION || sealed.length < SEALED_AT + GCM_TAG_BYTES + 1) {
      throw notAuthentic(this.topic[0], place, 'it is not sealed')
    }
    const bytes = new Uint8Array(sealed)
    const nonce = bytes.subarray(NONCE_AT, SEALED_AT)
    let plain: Uint8Array
    try {
      const cipher = bytes.subarray(SEALED_AT)
      plain = new Uint8Array(await crypto.subtle.decrypt(this.algorithm(nonce, place), this.key, cipher))
    } catch {
      // Nothing more is known of why.
      throw notAuthentic(this.topic[0], place, 'it was sealed with another key or for another place, or changed since')
    }
    const tag = TAGS[plain[0] as number]
    const value = plain.subarray(1)
    if (tag === undefined) throw notAuthentic(this.topic[0], place, 'it was sealed by a later version')
    const data: RecordData = tag === 'bytes' ? { tag, value } : { tag, value: new TextDecoder().decode(value) }
    const writer = Array.from(nonce.subarray(0, WRITER_BYTES), (byte) => byte.toString(16).padStart(2, '0')).join('')
    return {
      data,
      bytes: value.length,
      writer,
      sequence: new DataView(bytes.buffer).getUint32(NONCE_AT + WRITER_BYTES),
    }
  }

  private algorithm(iv: Uint8Array<ArrayBuffer>, place: Place) {
    return { name: 'AES-GCM', iv, additionalData: utf8.encode(JSON.stringify([DOMAIN, ...this.topic, ...place])) }
  }
}

/** Numbers what one writer seals. No nonce comes twice under a key: the writer is random, and counts. */
export class SealWriter {
  private readonly id = crypto.getRandomValues(new Uint8Array(WRITER_BYTES))
  private sealed = 0

  /** How much it has sealed. */
  get count(): number {
    return this.sealed
  }

  next(): Uint8Array<ArrayBuffer> {
    if (this.sealed === SEQUENCES) {
      throw new LitetopicError('LIMIT_EXCEEDED', `one writer seals at most ${SEQUENCES} times: begin a new stream`)
    }
    const nonce = new Uint8Array(NONCE_BYTES)
    nonce.set(this.id)
    new DataView(nonce.buffer).setUint32(WRITER_BYTES, this.sealed++)
    return nonce
  }
}

export function notAuthentic(topic: string, place: Place, why: string): LitetopicError {
  const [kind, ...names] = place
  const what = [kind, ...names].filter((name) => name !== null).join(' ')
  return new LitetopicError('NOT_AUTHENTIC', `${what} in topic ${topic} is refused: ${why}`, { topic, place })
}

async function masterKey(key: SealKey): Promise<WebKey> {
  if (!(key instanceof Uint8Array)) return key
  if (key.length === KEY_BYTES) return crypto.subtle.importKey('raw', new Uint8Array(key), 'HKDF', false, ['deriveKey'])
  throw new LitetopicError('BAD_REQUEST', `a key is ${KEY_BYTES} random bytes, not ${key.length}`)
}
