/** Linger and retention of a topic: its own, over those of the longest prefix configured, over the defaults. */

import { LIMITS, LitetopicError, longestPrefix, type PolicyInfo } from '../protocol/index.ts'
import type { TopicPolicy } from '../storage/index.ts'

export interface EffectivePolicy {
  /** Infinity for `"forever"`. */
  readonly lingerMs: number
  readonly maxBytes: number
  readonly maxRecords: number
  readonly maxAgeMs: number
}

export type PolicyTable = ReadonlyMap<string, TopicPolicy>

const NO_POLICY: TopicPolicy = {}

/** The policy in force. Retention that is not set is without bound. */
export function effectivePolicy(table: PolicyTable, name: string, own: TopicPolicy | null): EffectivePolicy {
  const prefix = longestPrefix(table, name) ?? NO_POLICY
  const linger = own?.lingerMs ?? prefix.lingerMs ?? LIMITS.lingerMs
  return {
    lingerMs: linger === 'forever' ? Number.POSITIVE_INFINITY : linger,
    maxBytes: own?.maxBytes ?? prefix.maxBytes ?? Number.POSITIVE_INFINITY,
    maxRecords: own?.maxRecords ?? prefix.maxRecords ?? Number.POSITIVE_INFINITY,
    maxAgeMs: own?.maxAgeMs ?? prefix.maxAgeMs ?? Number.POSITIVE_INFINITY,
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
  }
}

export function lingerInfo(policy: EffectivePolicy): number | 'forever' {
  return Number.isFinite(policy.lingerMs) ? policy.lingerMs : 'forever'
}

/** What of a policy is set, as it is stored; null when nothing is. Throws BAD_REQUEST on values out of range. */
export function storedPolicy(policy: PolicyInfo | undefined): TopicPolicy | null {
  if (policy === undefined) return null
  const entries = Object.entries(policy).filter(([, value]) => value !== undefined)
  for (const [key, value] of entries) {
    if (key !== 'lingerMs' && value === 0) {
      throw new LitetopicError('BAD_REQUEST', `${key} must be more than 0, or null for no bound`)
    }
  }
  return entries.length === 0 ? null : Object.fromEntries(entries)
}
