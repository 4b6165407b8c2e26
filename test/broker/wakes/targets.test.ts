/** Where webhooks may go: patterns of names, ranges of addresses, and what a name must not resolve to. */

import { describe, expect, test } from 'vitest'
import { isPublic } from '../../../broker/wakes/addresses.ts'
import { type Resolve, Targets } from '../../../broker/wakes/targets.ts'
import { codeThrown } from './refused.ts'

const PRIVATE = [
  ...[
    '0.0.0.0',
    '0.1.2.3',
    '10.0.0.1',
    '100.64.0.1',
    '100.127.255.254',
    '127.0.0.1',
    '127.255.255.255',
    '169.254.169.254',
  ],
  ...[
    '172.16.0.1',
    '172.31.255.255',
    '192.0.0.8',
    '192.0.2.1',
    '192.88.99.1',
    '192.168.0.1',
    '198.18.0.1',
    '198.51.100.1',
  ],
  ...['203.0.113.1', '224.0.0.1', '239.255.255.255', '240.0.0.1', '255.255.255.255'],
  ...[
    '::',
    '::1',
    '::ffff:8.8.8.8',
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    '::8.8.8.8',
    '64:ff9b::808:808',
    '100::1',
    '2001::1',
  ],
  ...[
    '2001:db8::1',
    '2002:7f00:1::',
    '3fff::1',
    '5f00::1',
    'fc00::1',
    'fd12::1',
    'fe80::1',
    'fe80::1%eth0',
    'fec0::1',
    'ff02::1',
  ],
  ...['', 'localhost', '1.2.3', '1.2.3.4.5', '08.8.8.8'],
]
const PUBLIC = [
  ...[
    '1.1.1.1',
    '8.8.8.8',
    '9.255.255.255',
    '11.0.0.0',
    '100.63.255.255',
    '100.128.0.0',
    '172.15.255.255',
    '172.32.0.0',
  ],
  ...['192.167.255.255', '223.255.255.255', '2606:4700::1111', '2a00:1450::1', '2001:4860:4860::8888'],
]

describe('an address', () => {
  test.each(PRIVATE)('%j is not public', (address) => {
    expect(isPublic(address)).toBe(false)
  })

  test.each(PUBLIC)('%s is public', (address) => {
    expect(isPublic(address)).toBe(true)
  })
})

/** Never asks a real resolver. */
const names =
  (table: Record<string, string[]>): Resolve =>
  async (host) =>
    table[host] ?? []

const codeOf = async (targets: Targets, url: string): Promise<string> => {
  try {
    const { address } = await targets.find(url)
    return address
  } catch (error) {
    return (error as { code: string }).code
  }
}
const REJECTED = 'WEBHOOK_URL_REJECTED'

describe('a webhook', () => {
  const resolve = names({
    'hooks.example.com': ['93.184.216.34'],
    'a.example.com': ['93.184.216.35'],
    'example.com': ['93.184.216.36'],
    'inside.example.com': ['10.1.2.3'],
    'mixed.example.com': ['93.184.216.34', '10.1.2.3'],
    'mapped.example.com': ['::ffff:10.1.2.3'],
    localhost: ['127.0.0.1'],
    'other.net': ['93.184.216.37'],
  })

  test('goes nowhere unless a host is named', async () => {
    expect(await codeOf(new Targets([], resolve), 'https://hooks.example.com/x')).toBe(REJECTED)
  })

  test.each([
    ['hooks.example.com', 'https://hooks.example.com/x', '93.184.216.34'],
    ['hooks.example.com', 'https://HOOKS.example.com./x', '93.184.216.34'],
    ['Hooks.Example.com', 'https://hooks.example.com:8443/x', '93.184.216.34'],
    ['hooks.example.com', 'https://a.example.com/', REJECTED],
    ['*.example.com', 'https://a.example.com/', '93.184.216.35'],
    ['*.example.com', 'https://example.com/', REJECTED],
    ['*.example.com', 'https://evilexample.com/', REJECTED],
    ['*', 'https://other.net/', '93.184.216.37'],
    ['hooks.example.com:443', 'https://hooks.example.com/', '93.184.216.34'],
    ['hooks.example.com:443', 'https://hooks.example.com:8443/', REJECTED],
    ['*', 'https://1.1.1.1/', '1.1.1.1'],
    ['*', 'https://[2606:4700::1111]/', '2606:4700::1111'],
    ['hooks.example.com', 'https://1.1.1.1/', REJECTED],
    // not safe
    ['*', 'http://hooks.example.com/', REJECTED],
    ['*', 'ftp://hooks.example.com/', REJECTED],
    ['*', 'https://user:secret@hooks.example.com/', REJECTED],
    ['*', 'no url', REJECTED],
    ['*', `https://hooks.example.com/${'x'.repeat(2_048)}`, REJECTED],
    // private by address or by name
    ['*', 'https://10.0.0.1/', REJECTED],
    ['*', 'http://10.0.0.1/', REJECTED],
    ['*', 'https://0x7f.1/', REJECTED],
    ['*', 'https://2130706433/', REJECTED],
    ['*', 'https://[::ffff:127.0.0.1]/', REJECTED],
    ['*', 'https://inside.example.com/', REJECTED],
    ['*', 'https://mixed.example.com/', REJECTED],
    ['*', 'https://mapped.example.com/', REJECTED],
    ['*', 'https://localhost/', REJECTED],
    ['*', 'http://127.0.0.1:9/', REJECTED],
    ['*', 'https://nowhere.example.com/', REJECTED],
  ])('with %s allowed, %s gives %s', async (host, url, expected) => {
    expect(await codeOf(new Targets([host], resolve), url)).toBe(expected)
  })

  test.each([
    [['127.0.0.1'], 'http://127.0.0.1:9000/x', '127.0.0.1'],
    [['127.0.0.1:9000'], 'http://127.0.0.1:9000/x', '127.0.0.1'],
    [['127.0.0.1:9000'], 'http://127.0.0.1:9001/x', REJECTED],
    [['127.0.0.1:9000', 'example.com'], 'http://127.0.0.1:9001/x', REJECTED],
    [['127.0.0.1'], 'http://127.0.0.2:9000/x', REJECTED],
    [['127.0.0.0/8'], 'http://127.0.0.2:9000/x', '127.0.0.2'],
    [['[::1]:9000'], 'http://[::1]:9000/x', '::1'],
    [['::1'], 'http://[::1]:9000/x', '::1'],
    [['[::1]:9000'], 'http://[::1]:9001/x', REJECTED],
    [['localhost'], 'http://localhost:9000/x', REJECTED],
    [['localhost', '127.0.0.1'], 'http://localhost:9000/x', '127.0.0.1'],
    [['10.0.0.0/8'], 'https://10.1.2.3/', '10.1.2.3'],
    [['10.0.0.0/8'], 'http://10.1.2.3/', REJECTED],
    [['10.0.0.0/8'], 'https://inside.example.com/', REJECTED],
    [['inside.example.com', '10.0.0.0/8'], 'https://inside.example.com/', '10.1.2.3'],
    [['inside.example.com', '10.0.0.0/8:8443'], 'https://inside.example.com/', REJECTED],
    [['mixed.example.com', '10.1.2.3'], 'https://mixed.example.com/', '93.184.216.34'],
  ])('with the addresses %j named, %s gives %s', async (hosts, url, expected) => {
    expect(await codeOf(new Targets(hosts, resolve), url)).toBe(expected)
  })

  test.each(['', 'a b', 'http://x', 'x/y', '10.0.0.0/33', '*.*.x', '**', 'x:99999', '[::1', '1.2.3.4/8/8'])(
    'cannot be allowed by %j',
    (entry) => {
      expect(codeThrown(() => new Targets([entry]))).toBe('BAD_REQUEST')
    },
  )
})
