/** PROTOCOL.md states codes, bounds, frame numbers and bytes; here they are held against the code. */

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import {
  ByteReader,
  ByteWriter,
  DELIVER_LIVE,
  DOWN,
  type DownFrame,
  decodeDown,
  decodeUp,
  ERRORS,
  encodeFrame,
  FORM,
  formatCursor,
  LIMITS,
  PROTOCOL_VERSION,
  RecordWalker,
  readAckEntry,
  SUBPROTOCOL,
  schemaText,
  UP,
  type UpFrame,
  WEBSOCKET_PATH,
  writeAckEntry,
  writeAppendEntry,
  writeBatchHeader,
  writeToken,
} from '../../protocol/index.ts'

const document = readFileSync(new URL('../../protocol/PROTOCOL.md', import.meta.url), 'utf8')

/** Changes only on purpose: see the message of the test. */
const SCHEMA_SHA256 = 'f03afdabd8246d904712cb7be5c538b4f2dd0fe35f9a428c7017afb0ebca6232'

/** The text of a section, up to the next heading of the same or a higher level. */
function section(title: string, level = 2): string {
  const mark = '#'.repeat(level)
  const [, after] = document.split(`\n${mark} ${title}\n`)
  if (after === undefined) throw new Error(`PROTOCOL.md has no section "${title}"`)
  return after.split(new RegExp(`\n#{1,${level}} `))[0] as string
}

/** Cells of every table row of a text whose first cell is code, without the back quotes of that cell. */
function rows(text: string): string[][] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) =>
      line
        .slice(1, -1)
        .split(' | ')
        .map((cell) => cell.trim()),
    )
    .map(([first, ...rest]) => [(first as string).replaceAll('`', ''), ...rest])
}

describe('the schema', () => {
  it('does not change unnoticed', () => {
    const hash = createHash('sha256').update(schemaText()).digest('hex')
    const advice =
      'The schema of the frames has changed. If every change is a new optional field or a new frame that old peers are ' +
      'never sent, describe it in PROTOCOL.md and pin the new hash here. Any other change needs a new PROTOCOL_VERSION.'
    expect(hash, advice).toBe(SCHEMA_SHA256)
  })

  it('names every frame by one number', () => {
    const numbers = [...Object.values(UP), ...Object.values(DOWN)]
    expect(new Set(numbers).size).toBe(numbers.length)
    expect(Object.values(UP).every((type) => type < 64)).toBe(true)
    expect(Object.values(DOWN).every((type) => type >= 64 && type < 128)).toBe(true)
  })
})

describe('PROTOCOL.md', () => {
  it('has the sections that the code refers to', () => {
    const sections = [
      ...['Words', 'Names', 'Connection', 'Frames', 'Entries', 'Records', 'Batches', 'Cursors', 'Sequences'],
      ...['Streams', 'Reading', 'Large messages', 'Resume', 'Limits', 'Errors', 'Versioning', 'Example'],
    ]
    for (const title of sections) expect(section(title).length, title).toBeGreaterThan(200)
  })

  it('lists every error code with its consequences and meaning, and no other', () => {
    const told = rows(section('Errors')).map(([code, retry, closes, means]) => [code, { retry, closes, means }])
    expect(told.length, 'a code is listed twice').toBe(new Set(told.map(([code]) => code)).size)
    const yes = (value: boolean): string => (value ? 'yes' : '')
    const expected = Object.entries(ERRORS).map(([code, { retry, closes, means }]) => [
      code,
      { retry: yes(retry), closes: yes(closes), means },
    ])
    expect(Object.fromEntries(told)).toEqual(Object.fromEntries(expected))
  })

  it('lists limits as limits.ts has them', () => {
    const told = rows(section('Limits'))
    expect(told.length).toBeGreaterThan(15)
    for (const [name, value] of told) {
      expect([name, Number(value?.replaceAll(',', ''))]).toEqual([name, LIMITS[name as keyof typeof LIMITS]])
    }
  })

  it('names only limits and error codes that exist', () => {
    const words = [...document.matchAll(/`([A-Z]+(?:_[A-Z]+)+)`/g)].map((match) => match[1] as string)
    expect(words.filter((word) => !Object.hasOwn(ERRORS, word) && word !== 'DELIVER_LIVE')).toEqual([])
  })

  it('describes every frame under its name and number', () => {
    for (const [direction, frames] of [
      ['Up', UP],
      ['Down', DOWN],
    ] as const) {
      const told = [...section('Frames').matchAll(/^#### `(\w+)` (\d+) \((up|down)\)$/gm)]
        .filter((match) => match[3] === direction.toLowerCase())
        .map((match) => [match[1], Number(match[2])])
      expect(Object.fromEntries(told)).toEqual(frames)
    }
  })

  it('names the version, subprotocol and path', () => {
    expect(document).toContain(`version ${PROTOCOL_VERSION}`)
    expect(document).toContain(`\`${SUBPROTOCOL}\``)
    expect(document).toContain(`\`${WEBSOCKET_PATH}\``)
    expect(document).toContain(formatCursor({ incarnation: '0123456789ab', epoch: 12_289, next: 42 }))
  })
})

describe('the example in PROTOCOL.md', () => {
  /** The bytes of a block: hex at the beginning of each line, then two spaces and a remark. */
  function bytesOf(name: string): Buffer {
    const block = /```\n([\s\S]*?)```/.exec(section(name, 3))?.[1] ?? ''
    const hex = block.split('\n').map((line) => line.split('  ')[0] as string)
    return Buffer.from(hex.join('').replaceAll(' ', ''), 'hex')
  }

  const frames: Record<string, UpFrame | DownFrame> = {
    hello: [UP.hello, 1, { client: 'docs' }],
    attach: [UP.attach, 1, 0, 'demo', { producer: 'p1' }],
    openStream: [UP.openStream, 2, 0, 0, 0, 'reply-1', 'create'],
    append: [UP.append, Buffer.from(appendEntry())],
    ack: [DOWN.ack, Buffer.from(ackEntry())],
    deliver: [DOWN.deliver, Buffer.from(deliverEntry())],
  }

  function records(): Uint8Array {
    const out = new ByteWriter()
    writeToken(out, 'reply-1', 'text', { tag: 'text', value: 'Hel' }, false)
    writeToken(out, 'reply-1', 'text', { tag: 'text', value: 'lo' }, true)
    return out.copy()
  }

  function appendEntry(): Uint8Array {
    const out = new ByteWriter()
    writeAppendEntry(out, 0, 0, 1, 0, 2, records(), records().length)
    return out.copy()
  }

  function ackEntry(): Uint8Array {
    const out = new ByteWriter()
    writeAckEntry(out, 0, 0, 1, 1)
    return out.copy()
  }

  function deliverEntry(): Uint8Array {
    const out = new ByteWriter()
    out.varint(0)
    out.varint(DELIVER_LIVE)
    writeBatchHeader(out, FORM.raw, 1, 2, 1_750_000_000_000, records().length)
    out.raw(records())
    return out.copy()
  }

  for (const [name, frame] of Object.entries(frames)) {
    it(`shows the bytes that the codec produces: ${name}`, () => {
      expect(bytesOf(name).toString('hex')).toBe(Buffer.from(encodeFrame(frame)).toString('hex'))
    })
  }

  it('can be decoded from the document alone', () => {
    expect(decodeUp(Buffer.concat(['hello', 'attach', 'openStream', 'append'].map(bytesOf)))).toHaveLength(4)
    const [ack, deliver] = decodeDown(Buffer.concat([bytesOf('ack'), bytesOf('deliver')])) as [DownFrame, DownFrame]
    const entry = { handle: 0, producerEpoch: 0, sequence: 0, base: 0 }
    readAckEntry(new ByteReader(ack[1] as Uint8Array), entry)
    expect(entry).toEqual({ handle: 0, producerEpoch: 0, sequence: 1, base: 1 })
    const bytes = deliver[1] as Uint8Array
    const texts: string[] = []
    const walker = new RecordWalker(new ByteReader(bytes, bytes.length - records().length))
    while (walker.next()) texts.push(`${walker.name()} ${walker.part()} ${walker.text()}`)
    expect(texts).toEqual(['reply-1 text Hel', 'reply-1 text lo'])
  })
})
