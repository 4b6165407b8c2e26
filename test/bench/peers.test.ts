/** Peers are only compared if each has stored what it was given, and if one that is not there does not pass for one that is. */

import { describe, expect, it, vi } from 'vitest'
import { type Peer, type PeerServer, Window } from '../../bench/peers/peer.ts'
import { measureStreams, measureTopics } from '../../bench/peers/workloads.ts'
import { ablePeers, PEERS } from '../../bench/peers.ts'
import { figureAt } from '../../bench/scenario.ts'

type Stored = Map<number, string[]>

/** A peer in this process; `harm` changes what it has stored before it is read. */
function peerOf(harm: (stored: Stored) => void = () => undefined): { peer: Peer; stopped: () => number } {
  let stops = 0
  const start = async (): Promise<PeerServer> => {
    const stored: Stored = new Map()
    const write = (topic: number, text: string): null => {
      stored.set(topic, [...(stored.get(topic) ?? []), text])
      return null
    }
    return {
      open: async () => undefined,
      write,
      create: write,
      flush: async () => undefined,
      readAll: async (_topics, _each, take) => {
        harm(stored)
        for (const [topic, texts] of stored) for (const text of texts) take(topic, text)
      },
      readFirst: async (topic) => {
        harm(stored)
        return stored.get(topic)?.[0] ?? ''
      },
      release: async () => undefined,
      anonBytes: () => 0,
      diskBytes: async () => 0,
      shutDown: async () => undefined,
      startAgain: async () => undefined,
      stop: async () => {
        stops++
      },
    }
  }
  return { peer: { name: 'peer', setup: '', missing: async () => null, start }, stopped: () => stops }
}

const STREAMS = { topics: 4, tokens: 40, seconds: 60 }
const TOPICS = { topics: 50, seconds: 60, restMs: 0 }
const tell = (): void => undefined

describe('streams', () => {
  it('are accepted when all was stored, warm-up included', async () => {
    const { peer, stopped } = peerOf()
    expect(figureAt(await measureStreams(peer, STREAMS, tell), 'tokens')).toBe(40)
    expect(stopped()).toBe(1)
  })

  it.each<[string, (texts: string[]) => void]>([
    ['the last one', (texts) => texts.pop()],
    ['one in the middle', (texts) => texts.splice(3, 1)],
    ['the order', (texts) => texts.reverse()],
    ['a repeat', (texts) => texts.push(texts[0] as string)],
    ['the content', (texts) => texts.splice(2, 1, 'x')],
  ])('are refused when %s is wrong, and the server is stopped all the same', async (_, harm) => {
    const { peer, stopped } = peerOf((stored) => harm(stored.get(1) ?? []))
    await expect(measureStreams(peer, STREAMS, tell)).rejects.toThrow('topic 1')
    expect(stopped()).toBe(1)
  })
})

describe('topics', () => {
  it('are accepted when each has its record', async () => {
    expect(figureAt(await measureTopics(peerOf().peer, TOPICS, tell), 'topics')).toBe(50)
  })

  it('are refused when one has lost it', async () => {
    const { peer } = peerOf((stored) => stored.delete(7))
    await expect(measureTopics(peer, TOPICS, tell)).rejects.toThrow('topic 7')
  })
})

describe('a window', () => {
  it('lets a writer wait from its limit on until one has left', async () => {
    const window = new Window(2)
    expect(window.enter()).toBeNull()
    let waited = false
    const room = window.enter()?.then(() => {
      waited = true
    })
    await Promise.resolve()
    expect(waited).toBe(false)
    window.leave()
    await room
    expect(waited).toBe(true)
    window.leave()
    await window.empty()
  })

  it('tells whoever waits of a failure, and whoever comes later', async () => {
    const window = new Window(1)
    const room = window.enter()
    window.fail('refused')
    await expect(room).rejects.toThrow('refused')
    await expect(window.empty()).rejects.toThrow('refused')
  })
})

it('servers that are not installed are skipped, each with a line that says so', async () => {
  vi.stubEnv('PATH', '')
  try {
    const params: Record<string, string | number> = {}
    const lines: string[] = []
    const able = await ablePeers(params, { progress: (line) => lines.push(line), earlier: new Map() })
    expect(able.map(({ name }) => name)).toEqual(['litetopic', 'durable-streams'])
    const skipped = PEERS.filter((peer) => !able.includes(peer)).map(({ name }) => [
      name,
      `${name.startsWith('redis') ? 'redis' : 'nats'}-server is not installed`,
    ])
    expect(lines).toEqual(skipped.map(([name, reason]) => `${name} is skipped: ${reason}`))
    for (const [name = '', reason] of skipped) expect(params[name]).toBe(`skipped: ${reason}`)
  } finally {
    vi.unstubAllEnvs()
  }
})
