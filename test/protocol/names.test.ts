/** Names of topics and ids, and which prefix covers which name. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { checkId, checkPrefix, checkTopicName, isTopicName, longestPrefix, prefixCovers } from '../../protocol/index.ts'
import { anyText, codeOf } from './arbitraries.ts'

const segment = fc.stringMatching(/^[A-Za-z0-9._~:@-]{1,12}$/).filter((text) => text !== '.' && text !== '..')
const name = fc.array(segment, { minLength: 1, maxLength: 5 }).map((segments) => segments.join('/'))

describe('a topic name', () => {
  it('is any list of segments of its characters', () => {
    fc.assert(
      fc.property(name, (value) => {
        expect(checkTopicName(value)).toBe(value)
      }),
    )
  })

  it('has 1 to 255 bytes', () => {
    expect(isTopicName('a'.repeat(255))).toBe(true)
    expect(isTopicName('a'.repeat(256))).toBe(false)
    expect(isTopicName('')).toBe(false)
  })

  it('is refused with BAD_NAME when it breaks the rules', () => {
    const wrong = [
      '/a',
      'a/',
      'a//b',
      '.',
      '..',
      'a/./b',
      'a/..',
      'a b',
      'a\n',
      'ä',
      'a*',
      'a%2f',
      'a\\b',
      'a\u0000',
      '/',
    ]
    for (const value of wrong) expect([value, codeOf(() => checkTopicName(value))]).toEqual([value, 'BAD_NAME'])
    for (const value of ['...', '.a', 'a..b', '~', 'a/b.c', 'A:b@c-d_e']) expect(isTopicName(value)).toBe(true)
  })

  it('is checked in linear time whatever it is', () => {
    expect(isTopicName(`${'a/'.repeat(127)}!`)).toBe(false)
    expect(isTopicName('a'.repeat(1_000_000))).toBe(false)
  })
})

describe('an id', () => {
  it('is 1 to 255 bytes of well-formed text without control characters', () => {
    for (const good of ['a', 'ä ö', '𝄞', 'a'.repeat(255), '𝄞'.repeat(63), '/..']) expect(checkId(good, 'id')).toBe(good)
    const wrong = [
      '',
      'a'.repeat(256),
      '𝄞'.repeat(64),
      'ä'.repeat(128),
      '\ud834',
      '\udd1e',
      'a\ud834b',
      'a\u0000',
      '\n',
    ]
    for (const bad of wrong) expect([bad, codeOf(() => checkId(bad, 'id'))]).toEqual([bad, 'BAD_NAME'])
  })

  it('is never refused with anything but BAD_NAME', () => {
    fc.assert(
      fc.property(fc.oneof(anyText, fc.string({ unit: 'binary-ascii' })), (value) => {
        expect([undefined, 'BAD_NAME']).toContain(codeOf(() => checkId(value, 'id')))
      }),
    )
  })
})

describe('a prefix', () => {
  it('is empty or a topic name, with or without a slash at its end', () => {
    expect(checkPrefix('')).toBe('')
    expect(checkPrefix('a/b/')).toBe('a/b')
    expect(checkPrefix('a/b')).toBe('a/b')
    for (const bad of ['/', '//', 'a//', '/a', '../', '*']) expect(codeOf(() => checkPrefix(bad))).toBe('BAD_NAME')
  })

  it('covers whole segments only', () => {
    expect(prefixCovers('support', 'support')).toBe(true)
    expect(prefixCovers('support', 'support/ticket-42')).toBe(true)
    expect(prefixCovers('support', 'support2')).toBe(false)
    expect(prefixCovers('support/t', 'support/ticket-42')).toBe(false)
    expect(prefixCovers('support/ticket', 'support')).toBe(false)
    expect(prefixCovers('', 'anything')).toBe(true)
  })

  it('that is the longest of those that cover a name decides', () => {
    const values = new Map([
      ['', 'all'],
      ['support', 'one'],
      ['support/vip', 'two'],
    ])
    expect(longestPrefix(values, 'support/vip/x')).toBe('two')
    expect(longestPrefix(values, 'support/vip')).toBe('two')
    expect(longestPrefix(values, 'support/vip2')).toBe('one')
    expect(longestPrefix(values, 'support2')).toBe('all')
    expect(longestPrefix(new Map(), 'support')).toBeUndefined()
  })

  it('is found as a search through all of them would find it', () => {
    const short = fc.array(fc.constantFrom('a', 'b', 'ab'), { minLength: 1, maxLength: 4 }).map((all) => all.join('/'))
    fc.assert(
      fc.property(fc.array(fc.oneof(short, fc.constant(''))), short, (prefixes, of) => {
        const best = prefixes.filter((prefix) => prefixCovers(prefix, of)).sort((x, y) => y.length - x.length)[0]
        expect(longestPrefix(new Map(prefixes.map((prefix) => [prefix, prefix])), of)).toBe(best)
      }),
    )
  })
})
