/** Options of a broker that make no sense: refused before anything starts. */

import { expect, test } from 'vitest'
import { type BrokerOptions, startBroker } from '../../broker/index.ts'

test.each<[string, BrokerOptions, string]>([
  ['a linger below 0', { lingerMs: -5 }, 'BAD_REQUEST'],
  ['a linger that is no number', { lingerMs: Number.NaN }, 'BAD_REQUEST'],
  ['a bound of 0', { policies: { a: { maxBytes: 0 } } }, 'BAD_REQUEST'],
  ['a bound that is text', { policies: { a: { maxRecords: 'many' as unknown as number } } }, 'BAD_REQUEST'],
  ['a prefix that is none', { policies: { 'a//b': { lingerMs: 1 } } }, 'BAD_NAME'],
  ['a port that is none', { port: 99_999 }, 'BAD_REQUEST'],
])('%s is refused', async (_, options, code) => {
  await expect(startBroker({ port: 0, dataDir: null, ...options })).rejects.toMatchObject({ code })
})
