/** The configuration file of serve, and what is said when it is wrong. */

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadConfig, parseConfig } from '../../broker/cli/config.ts'
import { isLitetopicError, type LitetopicError } from '../../protocol/index.ts'

test('everything that can be configured is read', () => {
  const config = parseConfig(
    JSON.stringify({
      host: '0.0.0.0',
      port: 7000,
      data: '/var/lib/litetopic',
      durability: 'os',
      linger: '30m',
      streamGrace: '5s',
      quiet: '1m',
      maxMessageBytes: 1_000_000_000,
      webhookHosts: ['hooks.example.com', '10.0.0.0/8'],
      publicUrl: 'https://broker.example.com',
      limits: {
        connection: { frameBytes: 1_000_000, messageBytes: 1, attachments: 2, subscriptions: 3 },
        topic: { bytes: 4, recordsPerSecond: 5, bytesPerSecond: 6 },
      },
      policies: {
        support: {
          limits: { attachments: 100, recordsPerSecond: 50, bytesPerSecond: 60 },
          linger: '10m',
          maxBytes: 1_000_000,
          maxRecords: 5_000,
          maxAge: '7d',
          ttl: '30d',
        },

        'support/vip/': { linger: 'forever' },
        '': {},
      },
    }),
  )
  expect(config).toEqual({
    host: '0.0.0.0',
    port: 7000,
    dataDir: '/var/lib/litetopic',
    durability: 'os',
    lingerMs: 1_800_000,
    streamGraceMs: 5_000,
    quietMs: 60_000,
    maxMessageBytes: 1_000_000_000,
    webhookHosts: ['hooks.example.com', '10.0.0.0/8'],
    publicUrl: 'https://broker.example.com',
    limits: {
      connection: { frameBytes: 1_000_000, messageBytes: 1, attachments: 2, subscriptions: 3 },
      topic: { bytes: 4, recordsPerSecond: 5, bytesPerSecond: 6 },
    },
    policies: {
      support: {
        limits: { attachments: 100, recordsPerSecond: 50, bytesPerSecond: 60 },
        lingerMs: 600_000,
        maxBytes: 1_000_000,
        maxRecords: 5_000,
        maxAgeMs: 604_800_000,
        ttlMs: 2_592_000_000,
      },
      'support/vip': { lingerMs: 'forever' },
      '': {},
    },
  })
})

test('an empty object configures nothing', () => {
  expect(parseConfig('{}')).toEqual({})
})

test.each([
  ['{"prot": 1}', 'prot', /unknown key "prot": there are host, port/],
  ['{"port": 70000}', 'port', /0 to 65535, not 70000/],
  ['{"port": 1.5}', 'port', /port/],
  ['{"host": 7}', 'host', /must be text, not 7/],
  ['{"data": ""}', 'data', /must be text/],
  ['{"durability": "sync"}', 'durability', /"fsync" or "os", not "sync"/],
  ['{"linger": 600}', 'linger', /duration such as "10m", or "forever", not 600/],
  ['{"linger": "soon"}', 'linger', /"soon" is no duration/],
  ['{"maxMessageBytes": "1g"}', 'maxMessageBytes', /whole number above 0, not "1g"/],
  ['{"limits": 5}', 'limits', /must be an object/],
  ['{"limits": {"topic": {"topics": 5}}}', 'limits.topic.topics', /unknown key.*there are bytes, messageBytes/],
  ['{"limits": {"connection": {"attachments": "1k"}}}', 'limits.connection.attachments', /whole number above 0/],
  [
    '{"policies": {"a": {"limits": {"attachments": 0}}}}',
    'policies.a.limits.attachments',
    /whole number above 0, not 0/,
  ],
  ['{"policies": []}', 'policies', /must be an object/],
  ['{"policies": {"a": 1}}', 'policies.a', /must be an object, not 1/],
  ['{"policies": {"a b": {}}}', 'policies.a b', /not a prefix/],
  ['{"policies": {"a": {"lingerMs": 1}}}', 'policies.a.lingerMs', /unknown key.*linger, maxBytes, maxRecords, maxAge/],
  ['{"policies": {"a": {"maxAge": "forever"}}}', 'policies.a.maxAge', /no duration/],
  ['{"policies": {"a": {"maxRecords": -1}}}', 'policies.a.maxRecords', /above 0, not -1/],
  ['{"toString": 1}', 'toString', /unknown key/],
  ['{"webhookHosts": "a.example"}', 'webhookHosts', /must be a list of texts/],
  ['{"webhookHosts": [7]}', 'webhookHosts.0', /must be text, not 7/],
])('%s is refused, and %s is named', (text, key, message) => {
  const error = refusal(() => parseConfig(text))
  expect(error.details.key).toBe(key)
  expect(error.message).toMatch(message)
  expect(error.message).toContain(key)
})

test.each(['', '{"port": }', '[]', '7', 'null'])('%j is no configuration', (text) => {
  expect(refusal(() => parseConfig(text)).code).toBe('BAD_REQUEST')
})

test('a file that is missing or wrong is named', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'litetopic-config-'))
  try {
    const path = join(directory, 'litetopic.json')
    await expect(loadConfig(path)).rejects.toMatchObject({
      code: 'BAD_REQUEST',
      message: expect.stringContaining(path),
    })
    await writeFile(path, '{"port": "x"}')
    await expect(loadConfig(path)).rejects.toMatchObject({ message: expect.stringContaining(`${path}: port`) })
    await writeFile(path, '{"port": 7}')
    expect(await loadConfig(path)).toEqual({ port: 7 })
  } finally {
    await rm(directory, { recursive: true })
  }
})

function refusal(run: () => unknown): LitetopicError {
  try {
    run()
  } catch (error) {
    if (isLitetopicError(error)) return error
    throw error
  }
  throw new Error('it was not refused')
}
