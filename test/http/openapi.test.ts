/** /openapi.json, held against a real broker: every operation in it is driven, and what it answers is as it says. */

import { Ajv2020 } from 'ajv/dist/2020.js'
import { beforeAll, describe, expect, it } from 'vitest'
import { accessOf, RIGHTS } from '../broker/access.ts'
import type { Call } from './drive.ts'
import { DRIVES } from './drives.ts'
import { HttpBroker } from './http.ts'

type Json = Readonly<Record<string, unknown>>

interface Described {
  readonly description: string
  readonly content?: Readonly<Record<string, { readonly schema: Json }>>
}

interface Operation {
  readonly operationId: string
  readonly parameters: readonly { readonly in: string }[]
  readonly responses: Readonly<Record<string, Described>>
}

interface Document {
  readonly openapi: string
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: { readonly schemas: Readonly<Record<string, Json>> }
}

const ajv = new Ajv2020({ strict: false })
const compiled = new Map<string, ReturnType<Ajv2020['compile']>>()
let document: Document
let operations: ReadonlyMap<string, Operation>

beforeAll(async () => {
  const http = await HttpBroker.start()
  document = await http.json<Document>('/openapi.json')
  ajv.addSchema({ $id: 'document', ...document })
  operations = new Map(
    Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => [`${method.toUpperCase()} ${path}`, operation] as const),
    ),
  )
})

/** The drive of an operation; HEAD is driven as GET is. */
const driveOf = (key: string) =>
  DRIVES[key] ?? (key.startsWith('HEAD ') ? DRIVES[key.replace('HEAD', 'GET')] : undefined)

function validatorOf(schema: Json): ReturnType<Ajv2020['compile']> {
  // References are within the document.
  const text = JSON.stringify(schema).replaceAll('"#/', '"document#/')
  const known = compiled.get(text) ?? ajv.compile(JSON.parse(text))
  compiled.set(text, known)
  return known
}

/** Is the response one that the operation says it may give? */
async function check(operation: Operation, response: Response, isHead: boolean): Promise<void> {
  const described = operation.responses[response.status]
  const type = (response.headers.get('content-type') ?? '').split(';')[0] as string
  if (type === 'text/event-stream') {
    expect(described?.content?.[type] ?? described?.content?.['*/*']).toBeDefined()
    return
  }
  const body = await response.clone().text()
  expect(described, `${operation.operationId} answered ${response.status} ${body}`).toBeDefined()
  if (isHead || described?.content === undefined) {
    expect(body).toBe('')
    return
  }
  const content = described.content[type] ?? described.content['*/*']
  expect(content, `${operation.operationId} answered ${type}`).toBeDefined()
  if (!/^application\/(json|.*\+json)$/.test(type) || content === undefined) return
  const validate = validatorOf(content.schema)
  expect(validate(JSON.parse(body)), `${body}: ${JSON.stringify(validate.errors)}`).toBe(true)
}

describe('the document', () => {
  it('has a drive for each operation, and none for others', () => {
    const driven = new Set(Object.keys(DRIVES))
    expect([...operations.keys()].filter((key) => driveOf(key) === undefined)).toEqual([])
    expect([...driven].filter((key) => !operations.has(key))).toEqual([])
  })

  it('is sound: every schema in it compiles, and every operation says what it is', () => {
    const ids = [...operations.values()].map(({ operationId }) => operationId)
    expect(new Set(ids).size).toBe(ids.length)
    for (const [key, { responses, ...rest }] of operations) {
      expect(rest, key).toMatchObject({ operationId: expect.any(String), summary: expect.any(String) })
      for (const { content = {} } of Object.values(responses))
        for (const { schema } of Object.values(content)) validatorOf(schema)
    }
  })
})

describe('each operation', () => {
  it('answers as the document says, with every answer that is no error', async () => {
    const access = await accessOf({ admin: { '': RIGHTS } })
    for (const [key, operation] of operations) {
      const [method = ''] = key.split(' ')
      const http = await HttpBroker.start({ webhookHosts: ['127.0.0.1'], accessFile: access.path })
      http.test.token = access.keys.admin
      const seen = new Set<string>()
      const call: Call = async (path, init = {}) => {
        const response = await http.fetch(path, { ...init, method })
        seen.add(`${response.status}`)
        await check(operation, response, method === 'HEAD')
        return response
      }
      await driveOf(key)?.(call, http)
      const promised = Object.keys(operation.responses).filter((status) => Number(status) < 400)
      expect([key, promised.filter((status) => !seen.has(status))]).toEqual([key, []])
    }
  })

  it('refuses a parameter that it does not know, and a name that is none', async () => {
    const http = await HttpBroker.start()
    for (const [key, operation] of operations) {
      const [method, path = ''] = key.split(' ')
      // Durable Streams let through what they do not know.
      if (!path.startsWith('/v1/') || path.startsWith('/v1/stream/')) continue
      for (const asked of [`${path.replace('{name}', 'x')}?nonsense=1`, path.replace('{name}', '..')]) {
        if (asked === path) continue
        const response = await http.fetch(asked.replace('/..', '/%2E%2E%2Fx'), { method })
        expect([key, asked, response.status]).toEqual([key, asked, 400])
        await check(operation, response, method === 'HEAD')
      }
    }
  })
})
