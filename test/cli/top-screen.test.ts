/** What `litetopic top` makes of two looks at a broker. */

import { expect, test } from 'vitest'
import { parseSeries, type Sample, topOf } from '../../broker/cli/top-sample.ts'
import { screen } from '../../broker/cli/top-screen.ts'
import type { TopicInfo } from '../../client/index.ts'

const topic = (name: string, nextOffset: number, lastAppendMs = 0, epoch = 1): TopicInfo => ({
  ...{ name, epoch, firstOffset: 0, nextOffset, bytes: 1_234, createdMs: 0, lastAppendMs, lingerMs: 0 },
  ...{ hold: 'attached', residency: 'resident' },
})

const sample = (atMs: number, received: number, ...topics: TopicInfo[]): Sample => ({
  ...{ atMs, topics, more: false },
  series: parseSeries(
    `# HELP x y\nlitetopic_received_records_total{kind="token"} ${received}\nlitetopic_received_records_total{kind="message"} 1\n`,
  ),
})

test('rates are those between two looks, and the busiest come first', () => {
  const before = sample(1_000, 100, topic('a', 10, 0, 1), topic('b', 0, 0, 2))
  const now = sample(3_000, 300, topic('a', 12, 5, 1), topic('b', 40, 0, 2), topic('c', 2, 9, 3))
  const seen = topOf(before, now)
  expect(seen.receivedPerSecond).toBe(100)
  expect(seen.sessions.map(({ name, recordsPerSecond }) => [name, recordsPerSecond])).toEqual([
    ['b', 20],
    ['c', 1],
    ['a', 1],
  ])
})

test('a broker that was started anew, and a topic made anew, have no rate below zero', () => {
  const seen = topOf(sample(0, 100, topic('a', 50, 0, 1)), sample(1_000, 0, topic('a', 3, 0, 2)))
  expect([seen.receivedPerSecond, seen.sessions[0]?.recordsPerSecond]).toEqual([0, 3])
})

test('no line is longer than the terminal is wide, nor are there more than it has, and long names keep their ends', () => {
  const name = `support/${'x'.repeat(80)}/ticket-42`
  const many = Array.from({ length: 50 }, (_, i) => topic(`${name}-${i}`, i, i, i))
  const seen = topOf(sample(0, 0, ...many), sample(1_000, 0, ...many))
  for (const size of [
    { columns: 120, rows: 24 },
    { columns: 20, rows: 5 },
    { columns: 1, rows: 1 },
  ]) {
    const lines = screen(seen, 'ws://127.0.0.1:7171', size)
    expect(lines.length).toBeLessThanOrEqual(size.rows)
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(size.columns)
  }
  const lines = screen(seen, 'ws://127.0.0.1:7171', { columns: 120, rows: 24 })
  expect(lines.at(-1)).toBe('and 33 more')
  expect(lines[6]).toMatch(/^support\/x+…x+\/ticket-42-49 +0\.0 +49 +1\.2 KB {2}attached/)
})
