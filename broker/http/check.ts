/**
 * Checks values by JSON Schema, as much of it as the routes use. Interpreted: compiling the schemas of all routes would take longer than all
 * else that a start does. A keyword that is not known here is refused when its route is added, so that none goes unchecked.
 */

import { invariant, LitetopicError } from '../../protocol/index.ts'

export type Schema = Readonly<Record<string, unknown>>

/** What is wrong, and where; null if nothing is. */
type Fault = { readonly path: string; readonly message: string } | null

type Keyword = (expected: never, value: unknown, schema: Schema, path: string) => Fault

const NOTES: ReadonlySet<string> = new Set(['title', 'description', 'contentEncoding', 'contentMediaType', 'headers'])

const KEYWORDS: Readonly<Record<string, Keyword>> = {
  type: (expected: string | readonly string[], value, _schema, path) =>
    [expected].flat().some((type) => isOfType(type as string, value))
      ? null
      : fault(path, `is not ${[expected].flat().join(' or ')}`),
  enum: (expected: readonly unknown[], value, _schema, path) =>
    expected.includes(value) ? null : fault(path, `is none of ${expected.join(', ')}`),
  const: (expected: unknown, value, _schema, path) => (value === expected ? null : fault(path, `is not ${expected}`)),
  minimum: (least: number, value, _schema, path) =>
    typeof value === 'number' && value < least ? fault(path, `is less than ${least}`) : null,
  maximum: (most: number, value, _schema, path) =>
    typeof value === 'number' && value > most ? fault(path, `is more than ${most}`) : null,
  minLength: (least: number, value, _schema, path) =>
    typeof value === 'string' && value.length < least ? fault(path, `is shorter than ${least}`) : null,
  maxLength: (most: number, value, _schema, path) =>
    typeof value === 'string' && value.length > most ? fault(path, `is longer than ${most}`) : null,
  pattern: (pattern: string, value, _schema, path) =>
    typeof value === 'string' && !new RegExp(pattern, 'u').test(value) ? fault(path, `is not like ${pattern}`) : null,
  minItems: (least: number, value, _schema, path) =>
    Array.isArray(value) && value.length < least ? fault(path, `has fewer than ${least} items`) : null,
  maxItems: (most: number, value, _schema, path) =>
    Array.isArray(value) && value.length > most ? fault(path, `has more than ${most} items`) : null,
  items: (schema: Schema, value, _schema, path) =>
    Array.isArray(value) ? first(value, (item, i) => faultOf(schema, item, `${path}/${i}`)) : null,
  required: (names: readonly string[], value, _schema, path) =>
    isObject(value) ? first(names, (name) => (name in value ? null : fault(path, `has no ${name}`))) : null,
  properties: (properties: Readonly<Record<string, Schema>>, value, _schema, path) =>
    isObject(value)
      ? first(Object.keys(value), (name) => {
          const schema = Object.hasOwn(properties, name) ? properties[name] : undefined
          return schema === undefined ? null : faultOf(schema, value[name], `${path}/${name}`)
        })
      : null,
  additionalProperties: (allowed: boolean | Schema, value, { properties = {} }, path) => {
    if (allowed === true || !isObject(value)) return null
    const known = properties as Readonly<Record<string, Schema>>
    const others = Object.keys(value).filter((name) => !Object.hasOwn(known, name))
    if (allowed === false)
      return first(others, (name) => fault(path, `has ${JSON.stringify(name)}, which is not known`))
    return first(others, (name) => faultOf(allowed, value[name], `${path}/${name}`))
  },
  anyOf: (schemas: readonly Schema[], value, _schema, path) => {
    const faults = schemas.map((schema) => faultOf(schema, value, path))
    // Of several ways to be right, the one tells most that goes deepest.
    return faults.includes(null) ? null : (faults.sort((a, b) => depthOf(b) - depthOf(a))[0] ?? null)
  },
}

/** Checks a part of a request. `what` is that part, for people. Returns what is wrong as BAD_REQUEST, or null. */
export function checkBy(schema: Schema, value: unknown, what: string): LitetopicError | null {
  const found = faultOf(schema, value, '')
  if (found === null) return null
  const { path, message } = found
  const where = path === '' ? what : `${what}: ${path.slice(1)}`
  return new LitetopicError('BAD_REQUEST', `${where} ${message}`, { reason: 'SCHEMA', in: what, path })
}

/** Throws INTERNAL for a schema with a keyword that would not be checked. */
export function checkSchema(schema: Schema): void {
  for (const [keyword, value] of Object.entries(schema)) {
    invariant(keyword in KEYWORDS || NOTES.has(keyword), `keyword ${keyword} of a route's schema is known`)
    if (keyword === 'properties') Object.values(value as Record<string, Schema>).forEach(checkSchema)
    if (keyword === 'items') checkSchema(value as Schema)
    if (keyword === 'anyOf') (value as readonly Schema[]).forEach(checkSchema)
    if (keyword === 'additionalProperties' && isObject(value)) checkSchema(value)
  }
}

function faultOf(schema: Schema, value: unknown, path: string): Fault {
  return first(Object.keys(schema), (keyword) => {
    const check = KEYWORDS[keyword]
    return check === undefined ? null : check(schema[keyword] as never, value, schema, path)
  })
}

function first<T>(items: readonly T[], look: (item: T, index: number) => Fault): Fault {
  for (let i = 0; i < items.length; i++) {
    const found = look(items[i] as T, i)
    if (found !== null) return found
  }
  return null
}

function isOfType(type: string, value: unknown): boolean {
  if (type === 'null') return value === null
  if (type === 'integer') return Number.isSafeInteger(value)
  if (type === 'array') return Array.isArray(value)
  if (type === 'object') return isObject(value)
  return typeof value === type
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function fault(path: string, message: string): Fault {
  return { path, message }
}

function depthOf(found: Fault): number {
  return found === null ? 0 : found.path.split('/').length
}
