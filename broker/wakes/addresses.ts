/**
 * Which addresses are of the public internet. A webhook is sent to no other one, unless the configuration names it: or whoever
 * may make a subscription could have the broker talk to what only the broker's own network reaches.
 */

import { BlockList, isIPv4, isIPv6 } from 'node:net'

/** Special-purpose addresses, as IANA registers them: private, shared, local, of documentation and tests, multicast, reserved. */
const SPECIAL_V4: readonly [string, number][] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
]

/** Of global unicast (2000::/3), beside which nothing is public: Teredo and others, documentation, 6to4, and documentation. */
const SPECIAL_V6: readonly [string, number][] = [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
]

const special = new BlockList()
const unicast = new BlockList()
const loopback = new BlockList()
for (const [net, bits] of SPECIAL_V4) special.addSubnet(net, bits, 'ipv4')
for (const [net, bits] of SPECIAL_V6) special.addSubnet(net, bits, 'ipv6')
unicast.addSubnet('2000::', 3, 'ipv6')
loopback.addSubnet('127.0.0.0', 8, 'ipv4')
loopback.addAddress('::1', 'ipv6')

/** Ranges of addresses that are named one by one. */
export class Addresses {
  private readonly list = new BlockList()

  /** Adds an address, or a range such as `10.0.0.0/8`. False if it is neither. */
  add(text: string): boolean {
    const [address = '', bits, ...rest] = text.split('/')
    const family = familyOf(address)
    if (family === null || rest.length > 0 || (bits !== undefined && !/^\d{1,3}$/.test(bits))) return false
    if (bits === undefined) this.list.addAddress(address, family)
    else if (Number(bits) > (family === 'ipv4' ? 32 : 128)) return false
    else this.list.addSubnet(address, Number(bits), family)
    return true
  }

  has(address: string): boolean {
    const family = familyOf(address)
    return family !== null && this.list.check(address, family)
  }
}

/** Is it an address of the public internet? An IPv4 address inside an IPv6 one is not. */
export function isPublic(address: string): boolean {
  const family = familyOf(address)
  if (family === null) return false
  if (family === 'ipv6' && !unicast.check(address, family)) return false
  return !special.check(address, family)
}

export function isLoopback(address: string): boolean {
  const family = familyOf(address)
  return family !== null && loopback.check(address, family)
}

/** Null for what is no address, or is one of a zone: those are of a single link. */
export function familyOf(address: string): 'ipv4' | 'ipv6' | null {
  if (isIPv4(address)) return 'ipv4'
  return isIPv6(address) && !address.includes('%') ? 'ipv6' : null
}
