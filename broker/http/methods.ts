/** Which methods each path takes, for `Allow`: the router itself only knows that it has none for a request. */

import type { Route } from './fastify.ts'

interface Entry {
  readonly pattern: RegExp
  readonly methods: readonly string[]
}

export class MethodTable {
  private readonly entries: Entry[] = []

  add({ url, method }: Pick<Route, 'url' | 'method'>): void {
    this.entries.push({ pattern: patternOf(url), methods: Array.isArray(method) ? method : [method] })
  }

  /** The methods that the path takes, sorted; none if there is no such path. The query is left out of it. */
  of(url: string): readonly string[] {
    const path = url.split('?', 1)[0] as string
    const found = this.entries.filter(({ pattern }) => pattern.test(path)).flatMap(({ methods }) => methods)
    return [...new Set(found)].sort()
  }
}

/** `:name` stands for one segment, `*` at the end for the rest. */
function patternOf(url: string): RegExp {
  const source = url
    .replace(/[.+?^${}()|[\]\\]/g, '\\$&')
    .replace(/:\w+/g, '[^/]+')
    .replace(/\*$/, '.*')
  return new RegExp(`^${source}$`)
}
