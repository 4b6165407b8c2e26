/** Folds of a log: what text of a stream and context its records make. Null where the log is not known well enough to say. */

type Log = readonly (string | undefined)[]

/** Text of each part of a stream, of the tokens before an offset, as JSON of its sorted parts. */
export function partsOf(log: Log, streamId: string, before: number): string | null {
  const parts = new Map<string, string>()
  for (let offset = 0; offset < before; offset++) {
    const record = log[offset]
    if (record === undefined) return null
    const token = tokenOf(record)
    if (token?.streamId === streamId) parts.set(token.part, (parts.get(token.part) ?? '') + token.text)
  }
  return JSON.stringify([...parts].sort())
}

export interface Token {
  readonly streamId: string
  readonly part: string
  readonly text: string
}

export function tokenOf(record: string): Token | null {
  if (!record.startsWith('t ')) return null
  const [, streamId = '', part = '', text = ''] = record.split(' ')
  return { streamId, part, text }
}

/** The context as of an offset: by name in byte order, as JSON. */
export function contextValues(log: Log, before: number): string | null {
  const entries = new Map<string, unknown[]>()
  for (let offset = 0; offset < before; offset++) {
    const record = log[offset]
    if (record === undefined) return null
    if (!record.startsWith('c ')) continue
    const [, op, name = '', ...rest] = record.split(' ')
    if (op === 'set') entries.set(name, [])
    if (op === 'delete') entries.delete(name)
    else {
      const pieces = entries.get(name) ?? []
      pieces.push(JSON.parse(rest.join(' ')))
      entries.set(name, pieces)
    }
  }
  const folded = [...entries].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, pieces]) => [name, fold(pieces)])
  return JSON.stringify(folded)
}

/** As PROTOCOL.md says: text is joined, also between other pieces; one piece is the value; several make a list. */
function fold(pieces: readonly unknown[]): unknown {
  const joined: unknown[] = []
  for (const piece of pieces) {
    const last = joined.at(-1)
    if (typeof piece === 'string' && typeof last === 'string') joined[joined.length - 1] = last + piece
    else joined.push(piece)
  }
  const [first] = joined
  if (joined.length === 1) return first
  return Array.isArray(first) ? [...first, ...joined.slice(1)] : joined
}
