/** Options of a broker that make no sense: refused before anything starts. */

import { expect, test } from 'vitest'
import { type BrokerOptions, startBroker } from '../../broker/index.ts'

test.each<[string, BrokerOptions, string]>([
  ['a linger below 0', { lingerMs: -5 }, 'BAD_REQUEST'],
  ['a linger that is no number', { lingerMs: Number.NaN }, 'BAD_REQUEST'],
  ['a bound of 0', { policies: { a: { maxBytes: 0 } } }, 'BAD_REQUEST'],
  ['a bound that is text', { policies: { a: { maxRecords: 'many' as unknown as number } } }, 'BAD_REQUEST'],
  ['a prefix that is none', { policies: { 'a//b': { lingerMs: 1 } } }, 'BAD_NAME'],
  ['a limit of 0', { limits: { topic: { bytes: 0 } } }, 'BAD_REQUEST'],
  ['a limit that is a fraction', { limits: { connection: { attachments: 1.5 } } }, 'BAD_REQUEST'],
  ['a limit of another scope', { limits: { topic: { topics: 1 } as object } }, 'BAD_REQUEST'],
  ['a scope that is none', { limits: { broker: {} } as object }, 'BAD_REQUEST'],
  ['a limit of a prefix that is none', { policies: { a: { limits: { attachment: 1 } as object } } }, 'BAD_REQUEST'],
  ['frames too small for an append', { limits: { connection: { frameBytes: 100_000 } } }, 'BAD_REQUEST'],
  ['frames larger than the protocol has', { limits: { connection: { frameBytes: 5_000_000 } } }, 'BAD_REQUEST'],
  ['a largest message of 0', { maxMessageBytes: 0 }, 'BAD_REQUEST'],
  ['a largest message that is no number', { maxMessageBytes: Number.NaN }, 'BAD_REQUEST'],
  ['a port that is none', { port: 99_999 }, 'BAD_REQUEST'],
])('%s is refused', async (_, options, code) => {
  await expect(startBroker({ port: 0, dataDir: null, ...options })).rejects.toMatchObject({ code })
})
