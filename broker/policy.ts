/** Linger, life and retention of a topic: its own, over those of the longest prefix configured, over the defaults. */

import { checkPrefix, LIMITS, LitetopicError, longestPrefix, type PolicyInfo } from '../protocol/index.ts'
import type { TopicPolicy } from '../storage/index.ts'

export interface EffectivePolicy {
  /** Infinity for `"forever"`. */
  readonly lingerMs: number
  readonly maxBytes: number
  readonly maxRecords: number
  readonly maxAgeMs: number
  /** The topic goes so long after it was last read or written, attached or not. */
  readonly ttlMs: number
  /** The topic goes at this time, attached or not. */
  readonly expiresAtMs: number
}

export type PolicyTable = ReadonlyMap<string, TopicPolicy>

/** A time may be any whole number; so that what is due then is one, too, none counts for more than this: 140,000 years. */
const LONGEST_MS = 2 ** 52

const NO_POLICY: TopicPolicy = {}
const KEYS = ['lingerMs', 'maxBytes', 'maxRecords', 'maxAgeMs', 'ttlMs', 'expiresAtMs'] as const

/** That of a prefix, for topics without a policy of their own. It is asked for several times for each topic that is attached. */
const ofPrefix = new WeakMap<TopicPolicy, EffectivePolicy>()

/** The policy in force. Life and retention that are not set is without bound. */
export function effectivePolicy(table: PolicyTable, name: string, own: TopicPolicy | null): EffectivePolicy {
  const prefix = longestPrefix(table, name)
  if (prefix === undefined) return combined(table, NO_POLICY, own)
  if (own !== null) return combined(table, prefix, own)
  let policy = ofPrefix.get(prefix)
  if (policy === undefined) {
    policy = combined(table, prefix, null)
    ofPrefix.set(prefix, policy)
  }
  return policy
}

function combined(table: PolicyTable, prefix: TopicPolicy, own: TopicPolicy | null): EffectivePolicy {
  const linger = own?.lingerMs ?? prefix.lingerMs ?? table.get('')?.lingerMs ?? LIMITS.lingerMs
  return {
    lingerMs: linger === 'forever' ? Number.POSITIVE_INFINITY : Math.min(linger, LONGEST_MS),
    maxBytes: bound(own?.maxBytes, prefix.maxBytes),
    maxRecords: bound(own?.maxRecords, prefix.maxRecords),
    maxAgeMs: bound(own?.maxAgeMs, prefix.maxAgeMs),
    ttlMs: time(own?.ttlMs, prefix.ttlMs),
    expiresAtMs: time(own?.expiresAtMs, prefix.expiresAtMs),
  }
}

/** The same policy of a topic's own, but that it lingers for ever, unless it or the configuration for its prefix says how long. */
export function kept(table: PolicyTable, name: string, own: TopicPolicy | null): TopicPolicy | null {
  const prefix = longestPrefix(table, name)
  const saysLinger = prefix !== table.get('') && prefix?.lingerMs !== undefined
  return saysLinger ? own : { lingerMs: 'forever', ...own }
}

/** A topic's own null lifts the bound of its prefix. */
function bound(own: number | null | undefined, prefix: number | null | undefined): number {
  return (own === undefined ? prefix : own) ?? Number.POSITIVE_INFINITY
}

function time(own: number | null | undefined, prefix: number | null | undefined): number {
  const ms = bound(own, prefix)
  return ms === Number.POSITIVE_INFINITY ? ms : Math.min(ms, LONGEST_MS)
}

/** The policies by prefix as they are looked up, with the default for the rest. Throws BAD_NAME or BAD_REQUEST. */
export function policyTable(
  lingerMs: number | 'forever',
  policies: Readonly<Record<string, TopicPolicy & { readonly limits?: unknown }>>,
): PolicyTable {
  checkPolicy({ lingerMs }, 'the default policy')
  const table = new Map<string, TopicPolicy>([['', { lingerMs }]])
  // Limits are read in limits.ts: they are of the prefix, not of each topic below it.
  for (const [prefix, { limits: _, ...policy }] of Object.entries(policies)) {
    const bare = checkPrefix(prefix)
    checkPolicy(policy, `the policy of prefix ${JSON.stringify(prefix)}`)
    table.set(bare, bare === '' ? { lingerMs, ...policy } : policy)
  }
  return table
}

function checkPolicy({ lingerMs, ...bounds }: TopicPolicy, what: string): void {
  const isCount = (value: unknown, least: number): boolean => Number.isSafeInteger(value) && Number(value) >= least
  if (lingerMs !== undefined && lingerMs !== 'forever' && !isCount(lingerMs, 0)) {
    throw new LitetopicError('BAD_REQUEST', `${what}: lingerMs must be a whole number from 0 on, or "forever"`)
  }
  for (const [key, value] of Object.entries(bounds)) {
    if (value === undefined || value === null || isCount(value, 1)) continue
    throw new LitetopicError('BAD_REQUEST', `${what}: ${key} must be a whole number from 1 on`)
  }
}

/** The same as answers carry it. */
export function policyInfo(policy: EffectivePolicy): PolicyInfo {
  const finite = (value: number): number | null => (Number.isFinite(value) ? value : null)
  return {
    lingerMs: lingerInfo(policy),
    maxBytes: finite(policy.maxBytes),
    maxRecords: finite(policy.maxRecords),
    maxAgeMs: finite(policy.maxAgeMs),
    ttlMs: finite(policy.ttlMs),
    expiresAtMs: finite(policy.expiresAtMs),
  }
}

export function lingerInfo(policy: EffectivePolicy): number | 'forever' {
  return Number.isFinite(policy.lingerMs) ? policy.lingerMs : 'forever'
}

/** What of a policy is set, as it is stored; null when nothing is. Throws BAD_REQUEST on values out of range. */
export function storedPolicy(policy: PolicyInfo | undefined): TopicPolicy | null {
  if (policy === undefined) return null
  const entries = KEYS.map((key) => [key, policy[key]] as const).filter(([, value]) => value !== undefined)
  for (const [key, value] of entries) {
    if (key !== 'lingerMs' && value === 0) {
      throw new LitetopicError('BAD_REQUEST', `${key} must be more than 0, or null for no bound`)
    }
  }
  return entries.length === 0 ? null : Object.fromEntries(entries)
}
