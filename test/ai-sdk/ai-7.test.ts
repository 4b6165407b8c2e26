/** The same with version 7 of the AI SDK, which asks for Node 22, and runs on 20 as far as it is used here. */

import { expect, it, vi } from 'vitest'

const { seven } = vi.hoisted(() => ({ seven: 'ai-7' }))
vi.mock('ai', () => import(seven))
vi.mock('ai/test', () => import(`${seven}/test`))

it('version 7 is what the tests below get', async () => {
  const { default: found } = await import(`${seven}/package.json`, { with: { type: 'json' } })
  expect(found.version).toMatch(/^7\./)
  expect((await import('ai')).streamText).toBe((await import(seven)).streamText)
})

await import('./answer.test.ts')
await import('./route.test.ts')
await import('./tools.test.ts')
