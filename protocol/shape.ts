/**
 * Shapes of plain data: each checks an untrusted value and gives its TypeScript type, and prints itself so that a hash
 * of the whole schema can be pinned. Small on purpose: frames are tuples of scalars, byte strings and flat objects.
 */

import { LIMITS } from './limits.ts'

const encoder = new TextEncoder()

export interface Shape<T> {
  /** Undefined if the value has this shape, else what is wrong. */
  check(value: unknown): string | undefined
  /** The shape as text, the same for the same shape. */
  readonly text: string
  /** Carries the type; never read. */
  readonly type?: T
}

export type TypeOf<S> = S extends Shape<infer T> ? T : never

const shape = <T>(text: string, test: (value: unknown) => boolean): Shape<T> => ({
  text,
  check: (value) => (test(value) ? undefined : `must be ${text}`),
})

/** An integer from 0 to `max`, by default 2^53-1. */
export const uint = (max: number = Number.MAX_SAFE_INTEGER): Shape<number> =>
  shape(`uint(${max})`, (value) => typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= max)

export const bool: Shape<boolean> = shape('bool', (value) => typeof value === 'boolean')

/** A string of at most `maxBytes` in UTF-8. */
export const text = (maxBytes: number = LIMITS.stringBytes): Shape<string> =>
  shape(`text(${maxBytes})`, (value) => typeof value === 'string' && fits(value, maxBytes))

export const bytes: Shape<Uint8Array> = shape('bytes', (value) => value instanceof Uint8Array)

export const literal = <const T extends readonly (string | number | null)[]>(...values: T): Shape<T[number]> =>
  shape(values.map((value) => JSON.stringify(value)).join('|'), (value) => values.includes(value as T[number]))

/** Any plain data: what a codec gives for JSON values and byte strings. */
export const plain: Shape<unknown> = shape('plain', isPlain)

export const nullable = <T>(inner: Shape<T>): Shape<T | null> => ({
  text: `${inner.text}?`,
  check: (value) => (value === null ? undefined : inner.check(value)),
})

export const either = <A, B>(one: Shape<A>, other: Shape<B>): Shape<A | B> => ({
  text: `(${one.text}|${other.text})`,
  check: (value) =>
    one.check(value) === undefined || other.check(value) === undefined
      ? undefined
      : `must be ${one.text}|${other.text}`,
})

export const list = <T>(inner: Shape<T>, max: number = LIMITS.frameElements): Shape<T[]> => ({
  text: `[${inner.text}]`,
  check(value) {
    if (!Array.isArray(value) || value.length > max) return `must be a list of at most ${max}`
    for (const item of value) {
      const wrong = inner.check(item)
      if (wrong !== undefined) return `item ${wrong}`
    }
    return undefined
  },
})

export const tuple = <const S extends readonly Shape<unknown>[]>(
  ...parts: S
): Shape<{ -readonly [K in keyof S]: TypeOf<S[K]> }> => ({
  text: `[${parts.map((part) => part.text).join(',')}]`,
  check(value) {
    if (!Array.isArray(value) || value.length !== parts.length) return `must be a list of ${parts.length}`
    for (let i = 0; i < parts.length; i++) {
      const wrong = (parts[i] as Shape<unknown>).check(value[i])
      if (wrong !== undefined) return `element ${i} ${wrong}`
    }
    return undefined
  },
})

type Fields = Readonly<Record<string, Shape<unknown>>>
type ObjectOf<R extends Fields, O extends Fields> = { [K in keyof R]: TypeOf<R[K]> } & { [K in keyof O]?: TypeOf<O[K]> }

/** An object with required and optional fields. Fields it does not know are let through, so that later versions may add some. */
export const object = <R extends Fields, O extends Fields = Record<never, never>>(
  required: R,
  optional: O = {} as O,
): Shape<ObjectOf<R, O>> => {
  const print = (fields: Fields, mark: string): string[] =>
    Object.keys(fields).map((key) => `${key}${mark}:${(fields[key] as Shape<unknown>).text}`)
  const needed = Object.entries(required) as [string, Shape<unknown>][]
  const others = Object.entries(optional) as [string, Shape<unknown>][]
  return {
    text: `{${[...print(required, ''), ...print(optional, '?')].sort().join(',')}}`,
    check(value) {
      if (!isPlainObject(value)) return 'must be an object'
      for (const [key, inner] of needed) {
        const wrong = inner.check(value[key])
        if (wrong !== undefined) return `${key} ${wrong}`
      }
      for (const [key, inner] of others) {
        const given = value[key]
        const wrong = given === undefined ? undefined : inner.check(given)
        if (wrong !== undefined) return `${key} ${wrong}`
      }
      return undefined
    },
  }
}

/** A UTF-16 unit is at most three bytes of UTF-8, and mostly one, so text is measured only near its bound. */
function fits(value: string, maxBytes: number): boolean {
  if (value.length * 3 <= maxBytes) return true
  if (value.length > maxBytes) return false
  for (let i = 0; i < value.length; i++) {
    if (value.charCodeAt(i) > 0x7f) return encoder.encode(value).length <= maxBytes
  }
  return true
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
}

function isPlain(value: unknown): boolean {
  if (value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean')
    return true
  if (value instanceof Uint8Array) return true
  if (Array.isArray(value)) return value.every(isPlain)
  if (!isPlainObject(value)) return false
  for (const key in value) if (!isPlain(value[key])) return false
  return true
}
