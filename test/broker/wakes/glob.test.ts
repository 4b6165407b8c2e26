/** Patterns of topic names. */

import { describe, expect, test } from 'vitest'
import { firstSegment, literalStart, matches, parsePattern } from '../../../broker/wakes/glob.ts'
import { codeThrown } from './refused.ts'

describe('a pattern', () => {
  test.each([
    ['events/*', 'events/a', true],
    ['events/*', 'events', false],
    ['events/*', 'events/a/b', false],
    ['/events/*/', 'events/a', true],
    ['*', 'events', true],
    ['*/a', 'events/a', true],
    ['**', 'a/b/c', true],
    ['events/**', 'events', true],
    ['events/**', 'events/a/b', true],
    ['events/**', 'events2/a', false],
    ['**/done', 'done', true],
    ['**/done', 'a/b/done', true],
    ['**/done', 'a/done/b', false],
    ['a/**/b/**/c', 'a/x/b/b/y/c', true],
    ['a/**/b/**/c', 'a/x/y/c', false],
    ['a/**/*/c', 'a/c', false],
    ['a/**/*/c', 'a/b/c', true],
    ['a/b', 'a/b', true],
    ['a/b', 'a/c', false],
  ])('%s and %s: %s', (pattern, name, expected) => {
    expect(matches(parsePattern(pattern), name)).toBe(expected)
  })

  test.each(['', '/', 'a//b', 'a*', '*a/b', '***', 'a/../b', 'a b', `${'*/'.repeat(128)}a`])(
    'cannot be %j',
    (pattern) => {
      expect(codeThrown(() => parsePattern(pattern))).toBe('BAD_REQUEST')
    },
  )

  test.each([
    ['events/*', 'events/', 'events'],
    ['events/**', 'events', 'events'],
    ['a/b/*/c', 'a/b/', 'a'],
    ['a/b', 'a/b', 'a'],
    ['*/b', '', null],
    ['**', '', null],
  ])('%s begins with %j, and in segment %j', (pattern, start, first) => {
    expect([literalStart(parsePattern(pattern)), firstSegment(parsePattern(pattern))]).toEqual([start, first])
  })

  test('takes no more time than the product of the lengths', () => {
    const pattern = parsePattern(
      Array.from({ length: 60 }, () => '**')
        .join('/a/')
        .slice(0, 250)
        .replace(/\/$/, ''),
    )
    expect(matches(pattern, Array.from({ length: 125 }, () => 'a').join('/'))).toBe(true)
    expect(matches([...pattern, 'b'], Array.from({ length: 125 }, () => 'a').join('/'))).toBe(false)
  })
})
