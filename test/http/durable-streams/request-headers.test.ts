/** Headers of the Durable Streams protocol: what is taken, and what is refused. */

import { expect, test } from 'vitest'
import { isSameType } from '../../../broker/content-type.ts'
import { formatEtag } from '../../../broker/http/durable-streams/etag.ts'
import { checkContentType, formOf } from '../../../broker/http/durable-streams/media-type.ts'
import {
  closedHeader,
  expiryHeaders,
  forkHeaders,
  producerHeaders,
} from '../../../broker/http/durable-streams/request-headers.ts'

const refuses = (read: () => unknown): void => {
  expect(read).toThrow(expect.objectContaining({ code: 'BAD_REQUEST' }))
}

test('a time to live is a whole number of seconds', () => {
  expect(expiryHeaders({})).toEqual({})
  expect(expiryHeaders({ 'stream-ttl': '3600' })).toEqual({ ttlMs: 3_600_000 })
  expect(expiryHeaders({ 'stream-ttl': '0' })).toEqual({ ttlMs: 1 })
  for (const ttl of ['', 'abc', '-1', '+1', '01', '1.0', '1e3', ' 1', '99999999999999999999']) {
    refuses(() => expiryHeaders({ 'stream-ttl': ttl }))
  }
})

test('an expiry is a time of RFC 3339, and excludes a time to live', () => {
  const ms = Date.UTC(2030, 0, 2, 3, 4, 5)
  for (const text of ['2030-01-02T03:04:05Z', '2030-01-02t03:04:05.000z', '2030-01-02T05:04:05+02:00']) {
    expect(expiryHeaders({ 'stream-expires-at': text })).toEqual({ expiresAtMs: ms })
  }
  for (const text of ['', 'tomorrow', '2030-01-02', '2030-13-02T03:04:05Z', '1893553445', '2030-01-02T03:04:05']) {
    refuses(() => expiryHeaders({ 'stream-expires-at': text }))
  }
  refuses(() => expiryHeaders({ 'stream-ttl': '1', 'stream-expires-at': '2030-01-02T03:04:05Z' }))
})

test('the producer headers come together, as whole numbers and a name', () => {
  const all = { 'producer-id': 'p', 'producer-epoch': '0', 'producer-seq': '9007199254740991' }
  expect(producerHeaders({})).toBeNull()
  expect(producerHeaders(all)).toEqual({ id: 'p', epoch: 0, sequence: Number.MAX_SAFE_INTEGER })
  for (const name of Object.keys(all)) refuses(() => producerHeaders({ ...all, [name]: undefined }))
  for (const number of ['', '-1', '1abc', '1e3', '0x1', '1.0', ' 1', '9007199254740992']) {
    refuses(() => producerHeaders({ ...all, 'producer-epoch': number }))
    refuses(() => producerHeaders({ ...all, 'producer-seq': number }))
  }
  refuses(() => producerHeaders({ ...all, 'producer-id': '' }))
  expect(() => producerHeaders({ ...all, 'producer-id': 'x'.repeat(256) })).toThrow('Producer-Id')
})

test('only `true` closes, in any case', () => {
  for (const value of ['true', 'TRUE', ' True ']) expect(closedHeader({ 'stream-closed': value })).toBe(true)
  for (const value of ['', 'false', 'yes', '1', undefined]) expect(closedHeader({ 'stream-closed': value })).toBe(false)
})

test('an offset to fork at needs a stream to fork, and a sub-offset is a whole number', () => {
  expect(forkHeaders({})).toBeNull()
  expect(forkHeaders({ 'stream-forked-from': '/v1/stream/a' })).toEqual({
    from: '/v1/stream/a',
    offset: null,
    subOffset: 0,
  })
  refuses(() => forkHeaders({ 'stream-fork-offset': '0000000000000000_0000000000000000' }))
  refuses(() => forkHeaders({ 'stream-fork-sub-offset': '0' }))
  for (const bad of ['', '-1', 'abc', '1.5', '05', '+1', '9007199254740992']) {
    refuses(() => forkHeaders({ 'stream-forked-from': '/v1/stream/a', 'stream-fork-sub-offset': bad }))
  }
})

test('content types are the same whatever their case and parameters, and what is none is refused', () => {
  expect(checkContentType(undefined)).toBeUndefined()
  expect(checkContentType(' ')).toBeUndefined()
  expect(checkContentType('Text/Plain; charset=utf-8')).toBe('Text/Plain; charset=utf-8')
  for (const bad of ['text', 'text/', '/plain', 'text plain', 'te xt/plain', `text/${'x'.repeat(255)}`]) {
    refuses(() => checkContentType(bad))
  }
  expect(isSameType('application/json;charset=utf-8', 'APPLICATION/JSON')).toBe(true)
  expect(isSameType('application/json', 'application/json-seq')).toBe(false)
  expect(['application/json; x=y', 'text/html', 'TEXT/csv', 'application/x-ndjson'].map(formOf)).toEqual([
    'json',
    'text',
    'text',
    'bytes',
  ])
})

test('an entity tag names the incarnation, the range and the closure', () => {
  const tag = formatEtag(12_288, 0, 5, false)
  const others = [formatEtag(12_288, 0, 5, true), formatEtag(12_288, 0, 6, false), formatEtag(12_289, 0, 5, false)]
  expect(new Set([tag, ...others]).size).toBe(4)
})
