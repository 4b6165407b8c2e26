/** The torture itself, for some seconds. One minute of it runs in .ci/run; `npm run torture -- --minutes N` runs more. */

import { afterEach, describe, expect, it } from 'vitest'
import { killAll, runScript } from '../cli/processes.ts'

afterEach(killAll)

const torture = (...args: string[]) => runScript('test/torture/main.ts', args).ended

describe('the torture', () => {
  it('kills broker, agents and readers, and finds nothing lost, repeated, reordered or invented', async () => {
    const { code, stdout } = await torture('--minutes', '0.1', '--seed', '7', '--agents', '16')
    expect(stdout.trimEnd().split('\n').at(-1)).toMatch(
      /^[1-9]\d* acknowledged, 0 lost, 0 repeated, 0 reordered, 0 invented$/,
    )
    expect(code).toBe(0)
  }, 240_000)

  it('says what it does not understand', async () => {
    const { code, stderr } = await torture('--kill', 'everyone')
    expect(stderr).toContain('--kill does not know everyone')
    expect(code).toBe(2)
  })
})
