/** The checksums of browsers are those of Node. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import * as node from '../../client/hash.ts'
import * as browser from '../../client/hash-browser.ts'

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

describe('checksums', () => {
  it('are the same in browsers as in Node, however the bytes are cut', () => {
    const pieces = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 6 })
    fc.assert(
      fc.property(pieces, (cut) => {
        const [one, two] = [node.sha256(), browser.sha256()]
        for (const piece of cut) {
          one.update(piece)
          two.update(piece)
          expect(browser.crc32(piece)).toBe(node.crc32(piece))
        }
        expect(hex(two.digest())).toBe(hex(one.digest()))
      }),
    )
  })

  it('are those of their standards', () => {
    const bytes = new TextEncoder().encode('123456789')
    expect(browser.crc32(bytes)).toBe(0xcbf43926)
    const hash = browser.sha256()
    hash.update(new TextEncoder().encode('abc'))
    expect(hex(hash.digest())).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
  })
})
