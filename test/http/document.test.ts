/** HTTP.md states routes, statuses and codes; here they are held against the code. */

import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { STATUS } from '../../broker/http/problem.ts'
import type { ErrorCode } from '../../protocol/index.ts'
import { HttpBroker } from './http.ts'

const document = readFileSync(new URL('../../broker/http/HTTP.md', import.meta.url), 'utf8')

/** Cells of every row of a table whose first cell is like the pattern. */
function rows(pattern: RegExp): string[][] {
  return document
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .map((line) =>
      line
        .slice(1, -1)
        .split(' | ')
        .map((cell) => cell.trim()),
    )
    .filter(([first = '']) => pattern.test(first))
}

const quoted = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name)

describe('HTTP.md', () => {
  it('lists each code with its status, and all codes that /openapi.json knows', async () => {
    const listed = rows(/^\d{3}$/).flatMap(([status, codes = '']) =>
      quoted(codes).map((code) => [code, Number(status)]),
    )
    expect(Object.fromEntries(listed)).toEqual(
      Object.fromEntries(listed.map(([code]) => [code, STATUS[code as ErrorCode]])),
    )
    const http = await HttpBroker.start()
    const { paths } = await http.json<{ paths: object }>('/openapi.json')
    const text = JSON.stringify(paths)
    const codes = new Set(
      [...text.matchAll(/"code":\{"enum":\[([^\]]*)\]/g)].flatMap(([, list = '']) => JSON.parse(`[${list}]`)),
    )
    expect(codes.size).toBeGreaterThan(20)
    expect([...codes].filter((code) => !listed.some(([known]) => known === code))).toEqual([])
  })

  it('lists the routes that there are, with their methods', async () => {
    const listed = new Map<string, Set<string>>()
    for (const [first = '', methods = ''] of rows(/^`\/v1\//)) {
      const path = quoted(first)[0] as string
      listed.set(path, new Set([...(listed.get(path) ?? []), ...methods.split(', ')]))
    }
    const http = await HttpBroker.start()
    const { paths } = await http.json<{ paths: Record<string, object> }>('/openapi.json')
    const missing = Object.entries(paths)
      .filter(([path]) => path.startsWith('/v1/') && !path.startsWith('/v1/stream/'))
      .flatMap(([path, operations]) => Object.keys(operations).map((method) => [path, method.toUpperCase()] as const))
      .filter(([path, method]) => method !== 'HEAD' && listed.get(path)?.has(method) !== true)
    expect(missing).toEqual([])
  })
})
