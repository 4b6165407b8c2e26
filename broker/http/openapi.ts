/**
 * The OpenAPI 3.1 document of the HTTP face, put together from the schemas by which its routes check what they take and shape what
 * they answer: there is no second description that could differ.
 */

import { ERRORS, type ErrorCode, LIMITS } from '../../protocol/index.ts'
import type { App, Route } from './fastify.ts'
import { PROBLEM_TYPE, STATUS } from './problem.ts'

type Json = Readonly<Record<string, unknown>>
type RouteFacts = Pick<Route, 'url' | 'method' | 'schema'>

/** What every operation can be answered with. */
export const COMMON: readonly ErrorCode[] = [
  'BAD_REQUEST',
  'UNAUTHENTICATED',
  'ACCESS_DENIED',
  'ACCESS_UNAVAILABLE',
  'LIMIT_EXCEEDED',
  'RATE_LIMITED',
  'SHUTTING_DOWN',
  'STORE_UNAVAILABLE',
  'STORE_CORRUPT',
  'INTERNAL',
]

const NAME: Json = {
  name: 'name',
  in: 'path',
  required: true,
  description: 'Name of the session. Its slashes may stand as they are, or percent-encoded.',
  schema: { type: 'string', minLength: 1, maxLength: LIMITS.nameBytes },
}

const PROBLEM: Json = {
  type: 'object',
  description: 'Problem details (RFC 9457), with the stable code of the error.',
  required: ['type', 'title', 'status', 'detail', 'instance', 'code', 'retry', 'details'],
  properties: {
    type: { type: 'string', description: 'What the code means: a path of this broker.' },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string', description: 'What happened, to which session, and what to do.' },
    instance: { type: 'string', description: 'Id of the request, as in X-Request-Id.' },
    code: { type: 'string', enum: Object.keys(ERRORS) },
    retry: { type: 'boolean', description: 'The same request may succeed later, unchanged.' },
    details: { type: 'object', description: 'Limits, offsets, outcomes, delays.' },
  },
}

export class OpenApi {
  private readonly routes: RouteFacts[] = []
  private readonly version: string
  private text: string | null = null

  constructor(version: string) {
    this.version = version
  }

  /** Takes in a route. */
  add({ url, method, schema }: RouteFacts): void {
    if (schema?.hide !== true) this.routes.push({ url, method, schema })
  }

  /** The route of the document itself. */
  register(app: App): void {
    const schema = {
      summary: 'This document',
      tags: ['broker'],
      response: { 200: { type: 'object', additionalProperties: true } },
    }
    app.get('/openapi.json', { schema, config: { openTo: 'everybody' } }, (_request, reply) => {
      this.text ??= JSON.stringify(this.document())
      reply.type('application/json; charset=utf-8').send(this.text)
    })
  }

  private document(): Json {
    const paths: Record<string, Record<string, Json>> = {}
    for (const route of this.routes) {
      const path = route.url.replace(/\*$/, '{name}').replace(/:(\w+)/g, '{$1}')
      for (const method of [route.method].flat()) {
        paths[path] = { ...paths[path], [method.toLowerCase()]: operationOf(route, method.toLowerCase(), path) }
      }
    }
    return {
      openapi: '3.1.0',
      info: { title: 'litetopic', version: this.version, license: { name: 'Apache-2.0', identifier: 'Apache-2.0' } },
      servers: [{ url: '/' }],
      paths,
      // Where access is configured; else none is asked for.
      security: [{ bearer: [] }, {}],
      components: {
        schemas: { Problem: PROBLEM },
        securitySchemes: { bearer: { type: 'http', scheme: 'bearer', description: 'An API key or a token.' } },
      },
    }
  }
}

function operationOf({ url, schema = {} }: RouteFacts, method: string, path: string): Json {
  const { operationId, summary, description, tags, body, bodies } = schema
  const made = `${method}${path.replace(/[^A-Za-z0-9]+(\w?)/g, (_, letter: string) => letter.toUpperCase())}`
  const operation: Record<string, unknown> = {
    operationId: method === 'head' ? `head_${operationId ?? made}` : (operationId ?? made),
    summary,
    description,
    tags,
    parameters: parametersOf(url, schema),
    responses: responsesOf(url, schema, method === 'head'),
  }
  if (bodies !== undefined) operation.requestBody = { content: byType(bodies) }
  if (body !== undefined) operation.requestBody = { required: !mayBeNull(body), content: contentOf(body) }
  return operation
}

function parametersOf(url: string, { querystring, headers, params }: NonNullable<Route['schema']>): Json[] {
  const declared = propertiesOf(params)
  const segments = [...url.matchAll(/:(\w+)/g)].map(([, name = '']) => ({
    name,
    in: 'path',
    required: true,
    schema: declared[name] ?? { type: 'string' },
  }))
  const within = (place: 'query' | 'header', schema: unknown): Json[] =>
    Object.entries(propertiesOf(schema)).map(([name, { description, ...rest }]) => ({
      name,
      in: place,
      required: requiredOf(schema).includes(name),
      description,
      schema: rest,
    }))
  return [
    ...(url.endsWith('*') ? [NAME] : []),
    ...segments,
    ...within('query', querystring),
    ...within('header', headers),
  ]
}

function responsesOf(
  url: string,
  { response, errors = [], refusals = [] }: NonNullable<Route['schema']>,
  isHead: boolean,
): Json {
  const responses: Record<string, Json> = {}
  for (const [status, schema] of Object.entries((response ?? {}) as Readonly<Record<string, Json>>)) {
    const { description = 'Done', headers, type } = schema
    const hasBody = !isHead && type !== 'null'
    responses[status] = { description, headers, ...(hasBody ? { content: contentOf(schema) } : {}) }
  }
  const codes = new Set<ErrorCode>([...COMMON, ...(url.endsWith('*') ? (['BAD_NAME'] as const) : []), ...errors])
  for (const status of new Set([...codes].map((code) => STATUS[code]))) {
    responses[status] ??= problemResponse(
      [...codes].filter((code) => STATUS[code] === status),
      isHead,
    )
  }
  for (const status of refusals) responses[status] ??= problemResponse(['BAD_REQUEST'], isHead)
  return responses
}

function problemResponse(codes: readonly ErrorCode[], isHead: boolean): Json {
  const description = codes.map((code) => `${code}: ${ERRORS[code].means}`).join('; ')
  if (isHead) return { description }
  const schema = { allOf: [{ $ref: '#/components/schemas/Problem' }, { properties: { code: { enum: codes } } }] }
  return { description, content: { [PROBLEM_TYPE]: { schema } } }
}

/** A schema by itself is that of JSON. */
function contentOf(schema: unknown): unknown {
  const { content } = schema as { content?: unknown }
  return content ?? { 'application/json': { schema } }
}

function byType(schemas: Readonly<Record<string, unknown>>): Json {
  return Object.fromEntries(Object.entries(schemas).map(([type, schema]) => [type, { schema }]))
}

/** Such a body may be left out. */
function mayBeNull(schema: unknown): boolean {
  const { anyOf = [] } = schema as { anyOf?: readonly { readonly type?: unknown }[] }
  return anyOf.some(({ type }) => type === 'null')
}

function propertiesOf(schema: unknown): Readonly<Record<string, Json>> {
  return (schema as { properties?: Record<string, Json> } | undefined)?.properties ?? {}
}

function requiredOf(schema: unknown): readonly string[] {
  return (schema as { required?: string[] } | undefined)?.required ?? []
}
