/**
 * Where a writer goes on after a crash: behind the tokens whose text is already durable, and no other. A checkpoint says
 * roughly where that is; the durable text of the stream says it exactly.
 */

import type { Token } from './tokens.ts'

/** What an agent notes in a checkpoint. */
export interface Progress {
  /** Tokens published before the checkpoint. */
  readonly tokens: number
  /** The length of each part's text then, in UTF-16 units. */
  readonly lengths: Readonly<Record<string, number>>
}

/** The position before the first token. */
export const NO_PROGRESS: Progress = { tokens: 0, lengths: {} }

export function isProgress(value: unknown): value is Progress {
  if (typeof value !== 'object' || value === null) return false
  const { tokens, lengths } = value as Partial<Progress>
  return typeof tokens === 'number' && typeof lengths === 'object' && lengths !== null
}

/** Follows what has been published, token by token. */
export class ProgressCounter {
  tokens: number
  readonly #lengths: Map<string, number>

  constructor(start: Progress = NO_PROGRESS) {
    this.tokens = start.tokens
    this.#lengths = new Map(Object.entries(start.lengths))
  }

  length(part: string): number {
    return this.#lengths.get(part) ?? 0
  }

  add(token: Token): void {
    this.tokens++
    this.#lengths.set(token.part, this.length(token.part) + token.text.length)
  }

  progress(): Progress {
    return { tokens: this.tokens, lengths: Object.fromEntries(this.#lengths) }
  }
}

/** Is the token, next after `counter`, part of the durable text already? */
export function isDurable(token: Token, counter: ProgressCounter, durable: ReadonlyMap<string, string>): boolean {
  return durable.get(token.part)?.startsWith(token.text, counter.length(token.part)) ?? false
}
