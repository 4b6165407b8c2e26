/** What users do with sessions, again, where there is only HTTP: the suites of the real broker, with the other transport. Some 20 s. */

import { describe, vi } from 'vitest'
import { useHttp } from './transport.ts'

useHttp()
// A request costs more than a message does, and some of these cut the line hundreds of times.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 })

describe('over HTTP: flows', async () => void (await import('./flows.test.ts')))
describe('over HTTP: endings', async () => void (await import('./endings.test.ts')))
describe('over HTTP: fencing', async () => void (await import('./fencing.test.ts')))
describe('over HTTP: stop', async () => void (await import('./stop.test.ts')))
describe('over HTTP: restore', async () => void (await import('./restore.test.ts')))
describe('over HTTP: races of streams', async () => void (await import('./stream-race.test.ts')))
describe('over HTTP: large messages', async () => void (await import('./large-messages.test.ts')))
