/** Closing a topic of a broker that is killed at that moment: all of it is there after the start, or nothing, and a repeat makes it so once. */

import { afterEach, expect, test } from 'vitest'
import { ByteWriter, UP } from '../../protocol/index.ts'
import { killAll, type Running, runScript } from '../cli/processes.ts'
import { message, tempDir } from './brokers.ts'
import { codeOf, Peer } from './peer.ts'

afterEach(killAll)

async function start(dir: string): Promise<{ running: Running; url: string }> {
  const running = runScript('test/broker/broker-process.ts', [dir], { input: '\n' })
  const found = await running.printed(/url (\S+)/)
  return { running, url: found[1] as string }
}

const LAST = (() => {
  const out = new ByteWriter()
  for (const text of ['last', 'x'.repeat(100_000)]) message(text)(out)
  return { records: out.copy(), count: 2 }
})()

/** When the broker is killed: what the client has heard by then. */
const MOMENTS = ['nothing', 'the append', 'the close'] as const

test('a SIGKILL while topics are closed', { timeout: 120_000 }, async () => {
  const dir = await tempDir()
  let broker = await start(dir)
  for (const [i, moment] of MOMENTS.entries()) {
    const name = `t${i}`
    const peer = await Peer.connect(broker.url)
    const { epoch } = await peer.attach(name, { producer: 'p' })
    await peer.ask(UP.openStream, 0, 0, 0, 's', 'create')
    const [append, close] = peer.together(() => [
      peer.append({ sequence: 1 }, message('one')),
      peer.ask(UP.closeTopic, 0, 0, 2, LAST),
    ])
    if (moment === 'the append') await append
    if (moment === 'the close') await close
    broker.running.process.kill('SIGKILL')
    await broker.running.ended
    broker = await start(dir)
    const again = await Peer.connect(broker.url)
    const { nextOffset, closed = false } = await again.attach(name, { producer: 'p', epoch })
    expect([1, 2, 5], moment).toContain(nextOffset)
    expect(closed, moment).toBe(nextOffset === 5)
    if (moment === 'the append') expect(nextOffset).toBeGreaterThanOrEqual(2)
    if (moment === 'the close') expect(nextOffset).toBe(5)
    expect(await again.append({ sequence: 1 }, message('one'))).toBe(1)
    expect(await again.ask(UP.closeTopic, 0, 0, 2, LAST)).toEqual({ offset: 2, nextOffset: 5 })
    const reading = await again.read({ start: true })
    await again.until(() => reading.ended !== null)
    expect(reading.ended?.code).toBe('CLOSED')
    expect([reading.messages.map((text) => text.slice(0, 9)), reading.states('s').at(-1)]).toEqual([
      ['text:one', 'text:last', 'text:xxxx'],
      'stopped',
    ])
    expect(await codeOf(again.append({ sequence: 3 }, message('late')))).toBe('CLOSED')
  }
  broker.running.process.kill('SIGKILL')
  await broker.running.ended
})
