/** Query parameters are text: those that a schema has as numbers or booleans become so before they are checked against it. */

import type { Request } from './fastify.ts'

interface QuerySchema {
  readonly properties?: Readonly<Record<string, { readonly type?: unknown }>>
}

const WHOLE = /^(?:0|[1-9][0-9]{0,15})$/

/** What turns the parameters of a request into what the schema says they are; null if all of them are text. */
export function queryReader(schema: unknown): ((request: Request) => void) | null {
  const { properties = {} } = (schema ?? {}) as QuerySchema
  const named = (type: string): string[] => Object.keys(properties).filter((name) => properties[name]?.type === type)
  const [numbers, booleans] = [[...named('integer'), ...named('number')], named('boolean')]
  if (numbers.length + booleans.length === 0) return null
  return ({ query }) => {
    const given = query as Record<string, unknown>
    for (const name of numbers) {
      const text = given[name]
      if (typeof text === 'string' && WHOLE.test(text)) given[name] = Number(text)
    }
    for (const name of booleans) {
      if (given[name] === 'true' || given[name] === '') given[name] = true
      else if (given[name] === 'false') given[name] = false
    }
  }
}
