/** What can be done to bytes: flipped, cut, spliced, with lengths that lie, and with what msgpack has beyond plain data. */

import type { Random } from '../random.ts'

type Mutation = (bytes: Uint8Array, random: Random) => Uint8Array

/** Heads of msgpack that begin something long, deep, or not plain. */
const HEADS = [0xc1, 0xc4, 0xc6, 0xc7, 0xc9, 0xd4, 0xd6, 0xd8, 0xd9, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0x40, 0x72, 0xd4]
/** A record definition of msgpackr, a timestamp, a class instance, an endless array, a map of endless maps, a bigint. */
const SNIPPETS = [
  [0xd4, 0x72, 0x40, 0x91, 0xa1, 0x61, 0x01],
  [0xd6, 0xff, 0, 0, 0, 0],
  [0xc7, 0x03, 0x65, 0x91, 0xa1, 0x61],
  [0xdd, 0xff, 0xff, 0xff, 0xff],
  [0x81, 0xa1, 0x61, 0x81, 0xa1, 0x61],
  [0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
  [0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0],
  [0x81, 0xa9, 0x5f, 0x5f, 0x70, 0x72, 0x6f, 0x74, 0x6f, 0x5f, 0x5f, 0x80],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
  [0xa3, 0xed, 0xa0, 0x80],
]

const at = (bytes: Uint8Array, random: Random): number => random.between(0, Math.max(0, bytes.length - 1))

const MUTATIONS: readonly Mutation[] = [
  // bit flip
  (bytes, random) => edited(bytes, at(bytes, random), (byte) => byte ^ (1 << random.between(0, 7))),
  // another byte
  (bytes, random) => edited(bytes, at(bytes, random), () => random.between(0, 255)),
  // another length or type
  (bytes, random) => edited(bytes, at(bytes, random), () => random.pick(HEADS)),
  (bytes, random) => edited(bytes, at(bytes, random), (byte) => byte + random.pick([-1, 1, 16])),
  // cut
  (bytes, random) => bytes.slice(0, at(bytes, random)),
  (bytes, random) => bytes.slice(at(bytes, random)),
  // spliced
  (bytes, random) => spliced(bytes, at(bytes, random), random.between(1, 8), []),
  (bytes, random) => spliced(bytes, at(bytes, random), 0, random.pick(SNIPPETS)),
  (bytes, random) => spliced(bytes, at(bytes, random), random.between(1, 4), random.pick(SNIPPETS)),
  (bytes, random) => {
    const from = at(bytes, random)
    return spliced(bytes, at(bytes, random), 0, [...bytes.slice(from, from + random.between(1, 64))])
  },
  // nested
  (bytes, random) => spliced(bytes, at(bytes, random), 1, Array<number>(random.between(2, 40)).fill(0x91)),
]

/** The bytes with one to three things done to them. */
export function mutate(bytes: Uint8Array, random: Random): Uint8Array {
  let mutated = bytes
  for (let i = random.between(1, 3); i > 0; i--) mutated = random.pick(MUTATIONS)(mutated, random)
  return mutated
}

/** Bytes out of nothing. */
export function noise(random: Random): Uint8Array {
  return Uint8Array.from({ length: random.between(0, 60) }, () => random.between(0, 255))
}

function edited(bytes: Uint8Array, place: number, edit: (byte: number) => number): Uint8Array {
  const copy = bytes.slice()
  if (place < copy.length) copy[place] = edit(copy[place] as number)
  return copy
}

function spliced(bytes: Uint8Array, place: number, removed: number, added: readonly number[]): Uint8Array {
  const joined = new Uint8Array(place + added.length + Math.max(0, bytes.length - place - removed))
  joined.set(bytes.subarray(0, place))
  joined.set(added, place)
  joined.set(bytes.subarray(Math.min(bytes.length, place + removed)), place + added.length)
  return joined
}
