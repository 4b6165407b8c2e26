/**
 * What every input becomes before it is published: tokens, each a piece of text of one part. Here are the two repairs
 * that keep them publishable: a character split between two deltas is put together, and a huge delta is cut up.
 */

/** A piece of one part of a reply: `text`, `reasoning`, `refusal`, `tool:<id>`. */
export interface Token {
  readonly part: string
  readonly text: string
}

/** A delta longer than this, in UTF-16 units, becomes several tokens. */
export const TOKEN_MAX_LENGTH = 8192

/**
 * Makes every token well-formed Unicode of a bounded length. A lone first half of a surrogate pair waits for the next
 * token of its part; one whose other half never comes becomes U+FFFD, as in any UTF-8 encoder.
 */
export class TokenShaper {
  readonly #halves = new Map<string, string>()

  shape(token: Token): Token[] {
    let text = (this.#halves.get(token.part) ?? '') + token.text
    this.#halves.delete(token.part)
    if (isFirstHalf(text.charCodeAt(text.length - 1))) {
      this.#halves.set(token.part, text.slice(-1))
      text = text.slice(0, -1)
    }
    return text === ''
      ? []
      : cut(wellFormed(text), TOKEN_MAX_LENGTH).map((piece) => ({ part: token.part, text: piece }))
  }

  /** What still waited for its other half at the end of the input. */
  end(): Token[] {
    return [...this.#halves.keys()].map((part) => ({ part, text: '\ufffd' }))
  }
}

/** Cuts text into pieces of at most `max` UTF-16 units, never through a surrogate pair. `max` is at least 2. */
export function cut(text: string, max: number): string[] {
  const pieces: string[] = []
  let from = 0
  while (text.length - from > max) {
    const to = from + max
    const end = isFirstHalf(text.charCodeAt(to - 1)) ? to - 1 : to
    pieces.push(text.slice(from, end))
    from = end
  }
  pieces.push(text.slice(from))
  return pieces
}

/** Is it the first half of a surrogate pair? False for NaN, the unit before the first. */
export function isFirstHalf(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff
}

const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g

function wellFormed(text: string): string {
  return text.replace(LONE_SURROGATE, '\ufffd')
}
