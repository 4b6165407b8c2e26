/** What a broker counts and measures, as Prometheus reads it. */

import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { METRIC_NAMES } from '../../broker/observe/metrics.ts'
import { UP } from '../../protocol/index.ts'
import { HttpBroker } from '../http/http.ts'
import { message, streamEnd, TestBroker, tempDir, tokens } from './brokers.ts'

/** The series of a scrape, by name and labels as they stand there. */
function seriesOf(text: string): Map<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]))
}

async function scrape(broker: TestBroker): Promise<Map<string, number>> {
  return seriesOf(await broker.broker.metrics())
}

describe('the metrics', () => {
  it('have the text format of Prometheus, each with a help and a type, and every one that is documented', async () => {
    const http = await HttpBroker.start()
    const answer = await http.fetch('/metrics')
    expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
    const text = await answer.text()
    for (const name of METRIC_NAMES) {
      expect(text).toContain(`# HELP ${name} `)
      expect(text).toMatch(new RegExp(`# TYPE ${name} (counter|gauge|histogram)`))
    }
    expect(text).toContain('nodejs_eventloop_lag_p99_seconds')
    expect(text).toContain('process_resident_memory_bytes')
  })

  it('count what comes in by kind, commits, and what goes out live and behind', async () => {
    const broker = await TestBroker.start({ dataDir: await tempDir() })
    const peer = await broker.peer()
    await peer.attach('a', { producer: 'p' })
    await peer.append({ sequence: 0 }, message('one'), message('two'))
    const reading = await peer.read({ start: true })
    await peer.until(() => reading.position === 2)
    await peer.append({ sequence: 1 }, message('three'))
    await peer.until(() => reading.position === 3)
    const series = await scrape(broker)
    expect(series.get('litetopic_received_records_total{kind="message"}')).toBe(3)
    expect(series.get('litetopic_received_records_total{kind="token"}')).toBe(0)
    expect(series.get('litetopic_received_bytes_total{kind="message"}')).toBeGreaterThan(10)
    expect(series.get('litetopic_delivered_records_total{from="stored"}')).toBe(2)
    expect(series.get('litetopic_delivered_bytes_total{from="stored"}')).toBeGreaterThan(6)
    expect(series.get('litetopic_topics_total{event="created"}')).toBe(1)
    expect(series.get('litetopic_topics{state="resident"}')).toBe(1)
    expect([series.get('litetopic_connections'), series.get('litetopic_attachments')]).toEqual([1, 1])
    expect(series.get('litetopic_commit_seconds_count')).toBeGreaterThan(1)
    expect(series.get('litetopic_commit_bytes_sum')).toBeGreaterThan(100)
    expect(series.get('litetopic_journal_write_seconds_count')).toBeGreaterThan(1)
    expect(series.get('litetopic_disk_bytes{part="journal"}')).toBeGreaterThan(100)
    expect(series.get('litetopic_up')).toBe(1)
  })

  it('count streams by their states, resumes by their outcome, and what is refused by its code, on any transport', async () => {
    const http = await HttpBroker.start()
    const peer = await http.test.peer()
    await peer.attach('a', { producer: 'p' })
    const { fence } = await peer.ask(UP.openStream, 0, 0, 0, 's', 'create')
    await peer.append({ sequence: 1, fence: fence as number }, ...tokens('s', 'x', 'y'), streamEnd('done', 's'))
    await peer.ask(UP.openStream, 0, 0, 2, 't', 'create')
    await peer.ask(UP.stop, 0, 't', {})
    const { cursor } = await peer.ask(UP.attach, 1, 'a', { observe: true })
    await peer.ask(UP.resume, 0, { cursor })
    await expect(peer.ask(UP.describe, 'no/such')).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(peer.append({ sequence: 9 }, ...tokens('s', 'z'))).rejects.toMatchObject({ code: 'SEQUENCE_GAP' })
    await http.problem('/v1/sessions/no/such')
    await http.problem('/v1/nothing')
    const series = await scrape(http.test)
    const states = ['open', 'done', 'stopped', 'lost'].map((state) =>
      series.get(`litetopic_stream_records_total{state="${state}"}`),
    )
    expect(states).toEqual([2, 1, 1, undefined])
    expect(series.get('litetopic_received_records_total{kind="token"}')).toBeGreaterThanOrEqual(2)
    expect(series.get('litetopic_resumes_total{outcome="continued"}')).toBe(1)
    expect(series.get('litetopic_rejected_total{code="NOT_FOUND"}')).toBe(3)
    expect(series.get('litetopic_rejected_total{code="SEQUENCE_GAP"}')).toBe(1)
  })

  it('count readers that fall behind, what is reclaimed, and chunks', async () => {
    const broker = await TestBroker.start({ lingerMs: 0 })
    const peer = await broker.peer()
    await peer.attach('a', { producer: 'p' })
    const reading = await peer.read({ live: true }, { creditBytes: 1, regrant: false })
    await peer.append({ sequence: 0 }, message('x'.repeat(5_000)))
    await peer.until(() => reading.position === 1)
    await peer.append({ sequence: 1 }, message('y'))
    expect((await scrape(broker)).get('litetopic_readers_behind_total')).toBe(1)
    await broker.pass(() => broker.broker.stats().journalFullness === 0)
    expect((await scrape(broker)).get('litetopic_chunks_written_total')).toBe(1)
    await broker.drop(peer)
    await broker.pass(() => broker.broker.stats().reclaimed === 1)
    expect((await scrape(broker)).get('litetopic_topics_total{event="reclaimed"}')).toBe(1)
  })

  it('go on counting over a store that is opened anew, and have no more series with more topics', async () => {
    const broker = await TestBroker.start()
    const peer = await broker.peer()
    await peer.attach('a/0', { producer: 'p' })
    await peer.append({ sequence: 0 }, message('x'))
    const before = (await scrape(broker)).size
    for (let i = 1; i <= 200; i++) {
      await peer.attach(`a/${i}`, { producer: 'p' }, i)
      await peer.append({ handle: i, sequence: 0 }, message('x'))
    }
    const series = await scrape(broker)
    expect(series.get('litetopic_topics_total{event="created"}')).toBe(201)
    // Some of the process are there only when it has something of the kind.
    expect([...series.keys()].filter((name) => name.startsWith('litetopic_')).length).toBeLessThanOrEqual(before)
    expect([...series.keys()].filter((name) => name.includes('a/'))).toEqual([])
  })
})

describe('the dashboard and the alerts', () => {
  it.each(['grafana-dashboard.json', 'prometheus-alerts.yml'])('of %s ask for metrics that there are', async (file) => {
    const text = await readFile(new URL(`../../deploy/${file}`, import.meta.url), 'utf8')
    if (file.endsWith('.json')) JSON.parse(text)
    const asked = new Set(
      [...text.matchAll(/\blitetopic_[a-z_]+/g)].map(([name]) => name.replace(/_(bucket|sum|count)$/, '')),
    )
    expect(asked.size).toBeGreaterThan(5)
    expect([...asked].filter((name) => !METRIC_NAMES.includes(name))).toEqual([])
  })
})
