/** Frames: round trips through the codec, and messages that must be refused before msgpackr sees them. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  ByteWriter,
  beginBytesFrame,
  checkReply,
  DOWN,
  type DownFrame,
  decodeDown,
  decodeUp,
  encodeFrame,
  endBytesFrame,
  isLitetopicError,
  LIMITS,
  pack,
  UP,
  type UpFrame,
  unpack,
} from '../../protocol/index.ts'
import { anyText, codeOf, edits, mutate, uint53 } from './arbitraries.ts'

const bin = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes))
const request = fc.nat(0xffff_ffff)
const handle = fc.nat(LIMITS.handlesPerConnection - 1)
const text = anyText.filter((value) => Buffer.byteLength(value) <= 255)
const optional = <T>(fields: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<Partial<T>> =>
  fc.record(fields, { requiredKeys: [] }) as fc.Arbitrary<Partial<T>>

const up: fc.Arbitrary<UpFrame> = fc.oneof(
  fc.tuple(fc.constant(UP.hello), fc.nat(255), optional({ token: text, client: text })),
  fc.tuple(fc.constant(UP.append), bin),
  fc.tuple(
    fc.constant(UP.attach),
    request,
    handle,
    text,
    optional({
      create: fc.boolean(),
      epoch: uint53,
      policy: optional({ lingerMs: fc.oneof(uint53, fc.constant('forever' as const)), maxBytes: fc.option(uint53) }),
    }),
  ),
  fc.tuple(fc.constant(UP.stop), request, handle, fc.option(text), optional({ reason: text })),
  fc.tuple(
    fc.constant(UP.subscribe),
    request,
    handle,
    handle,
    optional({ last: uint53, checkpoint: fc.option(text) }),
    optional({ raw: fc.boolean(), creditBytes: fc.nat(LIMITS.creditMaxBytes) }),
  ),
  fc.tuple(fc.constant(UP.delete), request, text, fc.option(uint53)),
  fc.tuple(
    fc.constant(UP.upload),
    request,
    handle,
    text,
    fc.record(
      { tag: fc.constantFrom('text' as const, 'json' as const, 'bytes' as const), id: text, size: uint53 },
      { requiredKeys: ['tag'] },
    ),
  ),
  fc.tuple(fc.constant(UP.part), request, handle, text, uint53, request, bin),
  fc.tuple(fc.constant(UP.abandon), request, handle, text),
  fc.tuple(fc.constant(UP.fetch), request, handle, uint53, uint53, fc.nat(LIMITS.partBytes)),
)

/** What JSON can say, and bytes; nested less deeply than a frame may be. */
const plain = fc.letrec((tie) => ({
  any: fc.oneof({ maxDepth: 3 }, anyText, uint53, fc.boolean(), fc.constant(null), bin, tie('list'), tie('object')),
  list: fc.array(tie('any'), { maxLength: 4 }),
  object: fc.dictionary(
    text.filter((key) => key !== '__proto__'),
    tie('any'),
    { maxKeys: 4, noNullPrototype: true },
  ),
})).any

const down: fc.Arbitrary<DownFrame> = fc.oneof(
  fc.tuple(fc.constant(DOWN.reply), request, plain),
  fc.tuple(fc.constant(DOWN.ack), bin),
  fc.tuple(fc.constant(DOWN.deliver), bin),
  fc.tuple(fc.constant(DOWN.partGrant), handle, text, uint53),
  fc.tuple(fc.constant(DOWN.refuse), handle, uint53, uint53, fc.constant('FENCED'), text, plain),
  fc.tuple(
    fc.constant(DOWN.welcome),
    fc.nat(255),
    fc.record({ incarnation: fc.constant('0123456789ab'), timeMs: uint53, server: text }),
  ),
)

const message = (frames: readonly (UpFrame | DownFrame)[]): Buffer => Buffer.concat(frames.map(encodeFrame))
const raw = (...bytes: number[]): Uint8Array => Uint8Array.from(bytes)
const hello: UpFrame = [UP.hello, 1, { client: 'test' }]

/** Runs both decoders; both must agree that the message is refused, with one code. */
function refusal(bytes: Uint8Array): string | undefined {
  const code = codeOf(() => decodeUp(bytes))
  expect(codeOf(() => decodeDown(bytes))).toBe(code)
  return code
}

function messageOf(call: () => unknown): string {
  try {
    call()
  } catch (error) {
    if (isLitetopicError(error)) return `${error.code} ${error.message}`
    throw error
  }
  return 'nothing was thrown'
}

describe('frames', () => {
  it('come back from one message, in order', () => {
    fc.assert(
      fc.property(fc.array(up, { minLength: 1, maxLength: 5 }), (frames) => {
        expect(decodeUp(message(frames))).toEqual(frames)
      }),
    )
    fc.assert(
      fc.property(fc.array(down, { minLength: 1, maxLength: 5 }), (frames) => {
        expect(decodeDown(message(frames))).toEqual(frames)
      }),
    )
  })

  it('of bytes can be built in place, and are read like any other', () => {
    for (const size of [0, 1, 255, 256, 70_000]) {
      const content = Buffer.alloc(size, 7)
      const out = new ByteWriter(1)
      for (const type of [DOWN.ack, DOWN.deliver] as const) {
        const start = beginBytesFrame(out, type)
        out.raw(content)
        endBytesFrame(out, start)
      }
      expect(decodeDown(Buffer.from(out.view()))).toEqual([
        [DOWN.ack, content],
        [DOWN.deliver, content],
      ])
    }
  })

  it('come back when the message lies inside a larger buffer', () => {
    const bytes = message([hello, [UP.append, Buffer.from('abc')]])
    const around = Buffer.concat([Buffer.from([0xc1]), bytes, Buffer.from([0xc1])])
    expect(decodeUp(around.subarray(1, -1))).toEqual([hello, [UP.append, Buffer.from('abc')]])
  })

  it('leave out an optional field that is undefined', () => {
    expect(decodeUp(encodeFrame([UP.hello, 1, { token: undefined, client: 'c' }]))).toEqual([
      [UP.hello, 1, { client: 'c' }],
    ])
  })

  it('let through fields that a later version may add', () => {
    const bytes = pack([UP.hello, 1, { client: 'c', later: [1] }])
    expect(decodeUp(bytes)).toEqual([[UP.hello, 1, { client: 'c', later: [1] }]])
  })

  it('carry plain data of any kind in a reply', () => {
    fc.assert(
      fc.property(plain, (value) => {
        expect(unpack(pack(value))).toEqual(value)
      }),
    )
  })

  it('accept an integer as a 64-bit integer or as a float, and no fraction', () => {
    const frame = (...value: number[]): Uint8Array => raw(0x94, UP.delete, 1, 0xa1, 0x61, ...value)
    expect(decodeUp(frame(0xcf, 0, 0, 0, 1, 0, 0, 0, 0))).toEqual([[UP.delete, 1, 'a', 2 ** 32]])
    expect(decodeUp(frame(0xcb, 0x41, 0xf0, 0, 0, 0, 0, 0, 0))).toEqual([[UP.delete, 1, 'a', 2 ** 32]])
    expect(codeOf(() => decodeUp(frame(0xcb, 0x3f, 0xe0, 0, 0, 0, 0, 0, 0)))).toBe('BAD_FRAME')
    expect(codeOf(() => decodeUp(frame(0xcf, 0, 0x20, 0, 0, 0, 0, 0, 0)))).toBe('BAD_FRAME')
    expect(codeOf(() => decodeUp(frame(0xff)))).toBe('BAD_FRAME')
  })
})

describe('a message that is not frames', () => {
  it('is refused when cut anywhere but between two frames', () => {
    fc.assert(
      fc.property(fc.array(up, { minLength: 1, maxLength: 3 }), (frames) => {
        const bytes = message(frames)
        const ends = new Set<number>()
        frames.reduce((end, frame) => ends.add(end + encodeFrame(frame).length) && end + encodeFrame(frame).length, 0)
        for (let cut = 0; cut <= bytes.length; cut++) {
          expect(codeOf(() => decodeUp(bytes.subarray(0, cut)))).toBe(ends.has(cut) ? undefined : 'BAD_FRAME')
        }
      }),
      { numRuns: 40 },
    )
  })

  it('is refused in two halves: a frame never spans messages', () => {
    const bytes = message([[UP.attach, 1, 2, 'support/ticket-42', { producer: 'p' }]])
    for (let cut = 1; cut < bytes.length; cut++) {
      expect(refusal(bytes.subarray(0, cut))).toBe('BAD_FRAME')
      expect(['BAD_FRAME', 'UNKNOWN_FRAME']).toContain(codeOf(() => decodeUp(bytes.subarray(cut))))
    }
  })

  it('never causes another error than a typed one, whatever is changed in it', () => {
    const codes = [undefined, 'BAD_FRAME', 'UNKNOWN_FRAME']
    fc.assert(
      fc.property(fc.array(up, { minLength: 1, maxLength: 3 }), edits, (frames, changes) => {
        expect(codes).toContain(codeOf(() => decodeUp(mutate(message(frames), changes))))
      }),
      { numRuns: 1000 },
    )
    fc.assert(
      fc.property(fc.array(down, { minLength: 1, maxLength: 3 }), edits, (frames, changes) => {
        expect(codes).toContain(codeOf(() => decodeDown(mutate(message(frames), changes))))
      }),
      { numRuns: 1000 },
    )
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(codes).toContain(codeOf(() => decodeUp(bytes)))
        expect([undefined, 'BAD_FRAME']).toContain(codeOf(() => unpack(bytes)))
      }),
      { numRuns: 1000 },
    )
  })

  it('is refused empty, as a scalar, as a map, or as an array without a number first', () => {
    for (const bytes of [raw(), raw(1), raw(0xc0), raw(0x80), raw(0x90), raw(0x91, 0xa1, 0x31), raw(0x91, 0x91, 1)]) {
      expect(refusal(bytes)).toBe('BAD_FRAME')
    }
  })
})

describe('msgpack that is not plain data', () => {
  const inFrame = (...value: number[]): Uint8Array => raw(0x93, 65, 1, ...value)

  it('is refused: every extension type, records, timestamps and the unused type', () => {
    const extensions = [0xc1, 0xc7, 0xc8, 0xc9, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8]
    for (const head of extensions) {
      expect(refusal(inFrame(head, 0x72, 0x40, ...new Array(20).fill(1)))).toBe('BAD_FRAME')
      expect(refusal(raw(head, 0x72, 0x40, ...new Array(20).fill(1)))).toBe('BAD_FRAME')
    }
    for (const value of [new Date(0), new Date(1), undefined]) {
      expect(codeOf(() => unpack(pack([value])))).toBe('BAD_FRAME')
    }
  })

  it('is refused: a map key that is not text', () => {
    for (const key of [[1], [0xc0], [0x90], [0x80], [0xc4, 1, 0x61], [0xcb, 0, 0, 0, 0, 0, 0, 0, 0]]) {
      expect(refusal(inFrame(0x81, ...key, 1))).toBe('BAD_FRAME')
    }
  })

  it('is refused: text that is not UTF-8', () => {
    expect(refusal(inFrame(0xa1, 0xff))).toBe('BAD_FRAME')
    expect(refusal(inFrame(0xd9, 3, 0xed, 0xa0, 0x80))).toBe('BAD_FRAME')
    expect(refusal(inFrame(0x81, 0xa1, 0xff, 1))).toBe('BAD_FRAME')
  })

  it('is refused: deep nesting, of lists and of maps', () => {
    const lists = (depth: number): Uint8Array => Buffer.alloc(depth + 1, 0x91).fill(1, depth)
    expect(codeOf(() => unpack(lists(LIMITS.frameDepth)))).toBeUndefined()
    expect(codeOf(() => unpack(lists(LIMITS.frameDepth + 1)))).toBe('BAD_FRAME')
    expect(codeOf(() => unpack(lists(1_000_000)))).toBe('BAD_FRAME')
    expect(codeOf(() => unpack(raw(...new Array(30).fill([0x81, 0xa1, 0x61]).flat(), 1)))).toBe('BAD_FRAME')
  })

  it('is refused: lengths far beyond the bytes, without making room for them', () => {
    const huge = [0xff, 0xff, 0xff, 0xff]
    for (const head of [0xc6, 0xdb, 0xdd, 0xdf]) expect(refusal(inFrame(head, ...huge))).toBe('BAD_FRAME')
    for (const head of [0xc5, 0xda, 0xdc, 0xde]) expect(refusal(inFrame(head, 0xff, 0xff))).toBe('BAD_FRAME')
    for (const head of [0xc4, 0xd9]) expect(refusal(inFrame(head, 0xff))).toBe('BAD_FRAME')
  })

  it('is refused: more elements than a list or map may have', () => {
    const size = LIMITS.frameElements
    const list = (items: number): Uint8Array => raw(0xdd, ...be32(items), ...new Array(items).fill(1))
    const map = (items: number): Uint8Array =>
      raw(0xdf, ...be32(items), ...new Array(items).fill([0xa1, 0x61, 1]).flat())
    expect(codeOf(() => unpack(list(size)))).toBeUndefined()
    expect(codeOf(() => unpack(list(size + 1)))).toBe('BAD_FRAME')
    expect(codeOf(() => unpack(map(size)))).toBeUndefined()
    expect(codeOf(() => unpack(map(size + 1)))).toBe('BAD_FRAME')
  })

  it('cannot reach a prototype', () => {
    const value = unpack(raw(0x81, 0xa9, ...Buffer.from('__proto__'), 0x81, 0xa1, 0x61, 1)) as { a?: unknown }
    expect(value.a).toBeUndefined()
    expect(({} as { a?: unknown }).a).toBeUndefined()
  })

  function be32(value: number): number[] {
    return [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255]
  }
})

describe('a refused message', () => {
  it('is FRAME_TOO_LARGE by its size alone, before anything in it is looked at', () => {
    expect(refusal(new Uint8Array(LIMITS.messageBytes + 1))).toBe('FRAME_TOO_LARGE')
    const fits = encodeFrame([UP.append, Buffer.alloc(LIMITS.messageBytes - 7)])
    expect(fits.length).toBe(LIMITS.messageBytes)
    expect(codeOf(() => decodeUp(fits))).toBeUndefined()
  })

  it('is UNKNOWN_FRAME for a type that its direction does not have', () => {
    for (const type of [0, 23, 28, 81, 255, -1, 1.5]) expect(refusal(pack([type, 1]))).toBe('UNKNOWN_FRAME')
    expect(codeOf(() => decodeDown(encodeFrame(hello)))).toBe('UNKNOWN_FRAME')
    expect(codeOf(() => decodeUp(encodeFrame([DOWN.ack, Buffer.alloc(0)])))).toBe('UNKNOWN_FRAME')
  })

  it('is BAD_FRAME for a wrong shape, and says which frame, element and field', () => {
    const told = (frame: unknown): string => messageOf(() => decodeUp(pack(frame)))
    expect(told([UP.hello, 1])).toBe('BAD_FRAME frame 1: must be a list of 3')
    expect(told([UP.hello, 256, {}])).toBe('BAD_FRAME frame 1: element 1 must be uint(255)')
    expect(told([UP.hello, 1, []])).toBe('BAD_FRAME frame 1: element 2 must be an object')
    expect(told([UP.hello, 1, { token: 1 }])).toBe('BAD_FRAME frame 1: element 2 token must be text(16384)')
    expect(told([UP.attach, 1, LIMITS.handlesPerConnection, 'a', {}])).toMatch(/^BAD_FRAME frame 3: element 2 /)
    expect(told([UP.attach, 1, 0, 'a'.repeat(256), {}])).toBe('BAD_FRAME frame 3: element 3 must be text(255)')
    expect(told([UP.attach, 1, 0, 'é'.repeat(128), {}])).toBe('BAD_FRAME frame 3: element 3 must be text(255)')
    expect(told([UP.attach, 1, 0, 'a', { policy: { lingerMs: 'never' } }])).toMatch(/element 4 policy lingerMs must be/)
    expect(told([UP.openStream, 1, 0, 0, 0, 's', 'open'])).toMatch(/^BAD_FRAME frame 6: element 6 must be "create"/)
    expect(told([UP.append, 'text'])).toBe('BAD_FRAME frame 5: element 1 must be bytes')
  })

  it('does not decode the frames before a broken one for nothing: the whole message is refused', () => {
    expect(codeOf(() => decodeUp(Buffer.concat([encodeFrame(hello), raw(0xc1)])))).toBe('BAD_FRAME')
    expect(codeOf(() => decodeUp(Buffer.concat([encodeFrame(hello), pack([99])])))).toBe('UNKNOWN_FRAME')
  })

  it('is refused when more than one value stands where one is expected', () => {
    expect(codeOf(() => unpack(raw(1, 2)))).toBe('BAD_FRAME')
    expect(codeOf(() => unpack(raw()))).toBe('BAD_FRAME')
  })
})

describe('a reply', () => {
  it('is checked for the request that it answers', () => {
    expect(checkReply(UP.trim, { firstOffset: 3 })).toEqual({ firstOffset: 3 })
    expect(checkReply(UP.detach, {})).toEqual({})
    expect(messageOf(() => checkReply(UP.trim, {}))).toBe(
      'BAD_FRAME reply to frame 8: firstOffset must be uint(9007199254740991)',
    )
    expect(codeOf(() => checkReply(UP.stream, { stream: { streamId: 's' } }))).toBe('BAD_FRAME')
    expect(codeOf(() => checkReply(UP.list, { topics: [{}], more: false }))).toBe('BAD_FRAME')
    expect(codeOf(() => checkReply(UP.list, null))).toBe('BAD_FRAME')
  })
})
