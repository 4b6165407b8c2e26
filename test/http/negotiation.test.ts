/** What `Accept` and entity tags say of a request: RFC 9110, in tables. */

import { describe, expect, it } from 'vitest'
import { negotiate } from '../../broker/http/accept.ts'
import { isNotModified, mayChange } from '../../broker/http/etag.ts'

describe('Accept', () => {
  const offered = ['application/json', 'application/x-ndjson', 'text/plain'] as const
  const cases: [string | undefined, string | null][] = [
    [undefined, 'application/json'],
    ['', 'application/json'],
    ['*/*', 'application/json'],
    ['text/plain', 'text/plain'],
    ['Text/Plain; charset=utf-8', 'text/plain'],
    ['text/*', 'text/plain'],
    ['text/html', null],
    ['application/json;q=0', null],
    ['application/json;q=0, */*', 'application/x-ndjson'],
    ['application/json;q=0.5, text/plain', 'text/plain'],
    ['text/plain;q=0.5, */*;q=0.1', 'text/plain'],
    ['text/plain;q=nonsense', null],
    ['application/x-ndjson, application/json', 'application/json'],
  ]
  for (const [header, type] of cases) {
    it(`${header ?? 'nothing'} takes ${type}`, () => expect(negotiate(header, offered)).toBe(type))
  }
})

describe('entity tags', () => {
  it('that the client has need not be sent', () => {
    expect(isNotModified(undefined, '"a"')).toBe(false)
    expect(isNotModified('"b", "a"', '"a"')).toBe(true)
    expect(isNotModified('W/"a"', '"a"')).toBe(true)
    expect(isNotModified('*', '"a"')).toBe(true)
    expect(isNotModified('"b"', '"a"')).toBe(false)
  })

  it('guard what is changed', () => {
    expect(mayChange({}, '"a"')).toBe(true)
    expect(mayChange({}, null)).toBe(true)
    expect(mayChange({ 'if-match': '"a"' }, '"a"')).toBe(true)
    expect(mayChange({ 'if-match': 'W/"a"' }, '"a"')).toBe(false)
    expect(mayChange({ 'if-match': '"b"' }, '"a"')).toBe(false)
    expect(mayChange({ 'if-match': '*' }, null)).toBe(false)
    expect(mayChange({ 'if-none-match': '*' }, null)).toBe(true)
    expect(mayChange({ 'if-none-match': '*' }, '"a"')).toBe(false)
  })
})
