/**
 * Text written in pieces may be cut in the middle of a character outside the basic plane. A lone first half is held back until
 * the next piece of the same part, because alone it would become U+FFFD.
 */

export class HeldSurrogates {
  private held: Map<string, string> | null = null

  get empty(): boolean {
    return this.held === null
  }

  /** The text to write now: what was held back and the piece, without a first half at its end. */
  join(part: string, piece: string): string {
    if (piece === '') return ''
    const before = this.held?.get(part) ?? ''
    if (before !== '') this.drop(part)
    const text = before + piece
    if (!endsInFirstHalf(text)) return text
    this.held ??= new Map()
    this.held.set(part, text.slice(-1))
    return text.slice(0, -1)
  }

  /** What no second half came for, by part; nothing is held afterwards. */
  takeAll(): [part: string, half: string][] {
    const all = [...(this.held ?? [])]
    this.held = null
    return all
  }

  private drop(part: string): void {
    this.held?.delete(part)
    if (this.held?.size === 0) this.held = null
  }
}

export function endsInFirstHalf(text: string): boolean {
  return (text.charCodeAt(text.length - 1) & 0xfc00) === 0xd800
}

/** The text in pieces of at most `units` UTF-16 units, no surrogate pair cut. */
export function cutText(text: string, units: number): string[] {
  if (text.length <= units) return text === '' ? [] : [text]
  const pieces: string[] = []
  for (let at = 0; at < text.length; ) {
    let piece = text.slice(at, at + units)
    if (at + units < text.length && endsInFirstHalf(piece)) piece = piece.slice(0, -1)
    pieces.push(piece)
    at += piece.length
  }
  return pieces
}
