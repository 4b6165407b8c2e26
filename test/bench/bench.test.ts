/** The suite in its tiny size: every scenario must run, check what it delivers, and say what it measured in the agreed shape. */

import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { GOALS } from '../../bench/goals.ts'
import { HTTP_TARGETS } from '../../bench/http-servers.ts'
import { PEERS } from '../../bench/peers.ts'
import { flatten, type Report } from '../../bench/report.ts'
import { type Figures, figureAt, figuresAt } from '../../bench/scenario.ts'
import { SCENARIOS } from '../../bench/scenarios.ts'
import { programArgs } from '../programs.ts'
import { tagErrors } from './tags.ts'

const execute = promisify(execFile)
const NAMES = SCENARIOS.map(({ name }) => name)

function bench(...args: string[]): Promise<{ stdout: string; stderr: string }> {
  return execute(process.execPath, [...programArgs('bench/main.ts'), ...args])
}

describe('a tiny run of all', () => {
  let dir: string
  let said: { stdout: string; stderr: string }
  let report: Report
  const resultsOf = (name: string): Figures => report.runs.find(({ scenario }) => scenario === name)?.results ?? {}
  /** Is the last of the names a peer that is not installed here? */
  const isSkipped = (name: string, names: readonly string[]): boolean => {
    const { params = {} } = report.runs.find(({ scenario }) => scenario === name) ?? {}
    return String(params[names.at(-1) ?? '']).startsWith('skipped: ')
  }

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'litetopic-bench-test-'))
    said = await bench('all', '--size', 'tiny', '--json', join(dir, 'out.json'), '--report', join(dir, 'report'))
    report = JSON.parse(await readFile(join(dir, 'out.json'), 'utf8'))
  }, 300_000)

  afterAll(() => rm(dir, { recursive: true, force: true }))

  it('runs every scenario, tells how far it is, and prints a table', () => {
    expect(report.runs.map(({ scenario }) => scenario)).toEqual(NAMES)
    for (const name of NAMES) {
      expect(said.stderr).toContain(`${name}: `)
      expect(said.stdout).toContain(`${name}: size tiny`)
    }
  })

  it('writes figures as JSON, with machine and versions', () => {
    expect(Object.keys(report).sort()).toEqual(['machine', 'runs', 'size', 'startedAt', 'versions'])
    expect(report.machine).toMatchObject({ cores: expect.any(Number), os: expect.any(String) })
    expect(report.versions).toMatchObject({ litetopic: expect.any(String), node: process.versions.node })
    const figures = report.runs.flatMap(({ results }) => flatten(results))
    for (const [name, value] of figures) expect({ name, fits: Number.isFinite(value) }).toEqual({ name, fits: true })
  })

  it('tokens: every token is delivered', () => {
    const results = resultsOf('tokens')
    expect(figureAt(results, 'byTopics', '20', 'tokens')).toBe(2000)
    expect(figureAt(results, 'byTopics', '20', 'tokensPerSecond')).toBeGreaterThan(0)
    const ack = (name: string) => figureAt(results, 'byTopics', '20', 'ackMs', name)
    expect(ack('p50')).toBeGreaterThan(0)
    expect(ack('p99')).toBeGreaterThanOrEqual(ack('p50'))
  })

  it('floor: as many bytes as tokens sent and stored, and the share of it that the product keeps', () => {
    const floor = (...path: string[]) => figureAt(resultsOf('floor'), 'byTopics', '20', ...path)
    const traffic = (name: string) => figureAt(resultsOf('tokens'), 'byTopics', '20', 'traffic', name)
    expect(floor('productTokensPerSecond')).toBe(figureAt(resultsOf('tokens'), 'byTopics', '20', 'tokensPerSecond'))
    expect(floor('productShare')).toBeGreaterThan(0)
    const stored = floor('commits') * floor('perCommit', 'commitBytes')
    expect(Math.abs(stored / traffic('commitBytes') - 1)).toBeLessThan(0.01)
  })

  it('latency: times at both shares of the maximum, and beside sessions that come and go', () => {
    const results = resultsOf('latency')
    const maximum = figureAt(results, 'maximumTokensPerSecond')
    expect(figureAt(results, 'byLoadPercent', '20 with churn', 'sessionsPerSecond')).toBeGreaterThan(0)
    for (const load of ['20', '60', '20 with churn']) {
      const at = (...path: string[]) => figureAt(results, 'byLoadPercent', load, ...path)
      expect(Math.abs(at('tokensPerSecond') - (maximum * Number.parseInt(load, 10)) / 100)).toBeLessThan(1)
      expect(at('deliveryMs', 'p999')).toBeGreaterThanOrEqual(at('deliveryMs', 'p50'))
      expect(at('deliveryMs', 'p50')).toBeGreaterThan(0)
    }
  })

  it('fanout: every reader gets every token, and the bystander is timed', () => {
    const at = (...path: string[]) => figureAt(resultsOf('fanout'), 'byReaders', '20', ...path)
    expect(at('tokens')).toBeGreaterThan(0)
    for (const name of ['deliveryMs', 'bystanderMs']) expect(at(name, 'p50')).toBeGreaterThan(0)
    expect(at('framesPerSecond')).toBeGreaterThan(0)
  })

  it('resume: runs of tokens when coalesced, single ones when raw, and every client of the storm is live again', () => {
    const at = (...path: string[]) => figureAt(resultsOf('resume'), ...path)
    expect(at('catchUp', 'raw', 'records')).toBe(1000)
    expect(at('catchUp', 'coalesced', 'records')).toBeLessThan(100)
    expect(at('storm', 'liveMs', 'max')).toBeGreaterThan(0)
    expect(at('storm', 'brokerRestartMs')).toBeGreaterThan(0)
  })

  it('large: throughput, memory, and the times of the token streams beside, and of many at once', () => {
    const at = (...path: string[]) => figureAt(resultsOf('large'), ...path)
    expect(at('deliveredMs', 'p50')).toBeGreaterThan(0)
    expect(at('memory', 'peakAnonBytes')).toBeGreaterThanOrEqual(at('memory', 'beforeAnonBytes'))
    for (const name of ['tokenAloneMs', 'tokenBesideMs', 'tokenSharedMs']) expect(at(name, 'p50')).toBeGreaterThan(0)
    expect(at('atOnce', 'uploadedMegabytesPerSecond')).toBeGreaterThan(0)
    expect(at('atOnce', 'memory', 'collectedAnonBytes')).toBeGreaterThan(0)
  })

  it('million: every step of the way, each of them measured', () => {
    const at = (...path: string[]) => figureAt(resultsOf('million'), 'byTopics', '500', ...path)
    expect(at('topics')).toBe(500)
    expect(at('tokens', 'tokens')).toBe(1500)
    for (const step of ['create', 'attach', 'read', 'open', 'resume', 'reclaim', 'reclaimAttached']) {
      expect({ step, rate: at(step, 'topicsPerSecond') }).toEqual({ step, rate: expect.any(Number) })
      expect(at(step, 'topicsPerSecond')).toBeGreaterThan(0)
    }
    for (const name of ['startMs', 'fewStartMs']) expect(at('start', name)).toBeGreaterThan(0)
    expect(at('kill', 'back', 'topicsPerSecond')).toBeGreaterThan(0)
    expect(at('tokens', 'deliveryMs', 'p99')).toBeGreaterThanOrEqual(at('tokens', 'deliveryMs', 'p50'))
    expect(at('dormant', 'diskBytesPerTopic')).toBeGreaterThan(0)
  })

  it('http: every server bears the requests and the readers, and the product is compared with each', () => {
    const at = (...path: string[]) => figureAt(resultsOf('http'), ...path)
    const { params = {} } = report.runs.find(({ scenario }) => scenario === 'http') ?? {}
    for (const { name } of HTTP_TARGETS) {
      for (const workload of ['appends', 'reads', 'events']) {
        if (params[`${name}, ${workload}`] !== undefined && name !== 'litetopic') continue
        const [rate, times] =
          workload === 'events' ? ['deliveriesPerSecond', 'deliveryMs'] : ['requestsPerSecond', 'answerMs']
        expect(at(workload, name, rate as string)).toBeGreaterThan(0)
        expect(at(workload, name, times as string, 'p50')).toBeGreaterThan(0)
      }
    }
    expect(at('events', 'litetopic', 'readersLate')).toBe(0)
    expect(Object.keys(figuresAt(resultsOf('http'), 'against'))).toEqual(['appends', 'reads', 'events'])
  })

  it('soak: everything befalls some sessions, all are reclaimed, and nothing is left', () => {
    const at = (...path: string[]) => figureAt(resultsOf('soak'), ...path)
    const happened = figuresAt(resultsOf('soak'), 'happened')
    for (const name of Object.keys(happened)) expect([name, at('happened', name) > 0]).toEqual([name, true])
    expect(at('after', 'topics') + at('after', 'attachments')).toBe(0)
    expect(report.runs.at(-1)?.wrong).toEqual([])
    expect(report.runs.at(-1)?.samples?.length).toBeGreaterThan(3)
  })

  it('has every figure that a goal is about, under the same names but for the numbers of a full run', () => {
    for (const { path, less = [] } of GOALS) {
      const [scenario, ...names] = path
      if (!NAMES.includes(scenario) || isSkipped(scenario, names)) continue
      for (const of of [names, less]) expect([scenario, ...of, leadsSomewhere(resultsOf(scenario), of)]).toContain(true)
    }
    for (const name of NAMES) expect(GOALS.map(({ path }) => path[0])).toContain(name)
  })

  it('peers: each bears the workloads, or says why it is skipped, and the product is compared with each', () => {
    const { params = {}, results = {} } = report.runs.find(({ scenario }) => scenario === 'peers') ?? {}
    for (const { name } of PEERS) {
      expect(params).not.toHaveProperty(`${name} failed`)
      if (isSkipped('peers', [name])) continue
      expect(figureAt(results, 'streams', name, 'tokens')).toBeGreaterThanOrEqual(20)
      expect(figureAt(results, 'topics', name, 'topics')).toBe(200)
      if (name !== 'litetopic') expect(figureAt(results, 'against', name)).toBeGreaterThan(0)
    }
    expect(figureAt(results, 'streams', 'litetopic', 'tokens')).toBe(2_000)
  })

  describe('its page', () => {
    let html: string

    beforeAll(async () => {
      html = await readFile(join(dir, 'report', 'index.html'), 'utf8')
    })

    it('is well-formed', () => {
      expect(tagErrors(html)).toEqual([])
    })

    it('has a section for each scenario, and in each plot lines with points, or bars', () => {
      const sections = html.split('<section id=').slice(1)
      expect(sections.map((section) => section.slice(1, section.indexOf('"', 1)))).toEqual(['goals', ...NAMES])
      for (const section of sections.slice(1)) {
        const plots = section.match(/<svg[\s\S]*?<\/svg>/g) ?? []
        expect(plots.length).toBeGreaterThan(0)
        for (const plot of plots) {
          expect(plot).toMatch(/<polyline [^>]*points="[\d.]+,[\d.]+|<rect class="bar /)
          expect(plot).toMatch(/<circle|<rect class="bar /)
          expect(plot).not.toMatch(/NaN|Infinity|undefined/)
        }
      }
    })

    it('holds each goal against what was measured, or says that it was not', () => {
      const rows = html
        .slice(html.indexOf('<section id="goals">'), html.indexOf('</section>'))
        .match(/<tr><td>.*?<\/tr>/g)
      expect(rows).toHaveLength(GOALS.length)
      for (const row of rows ?? []) expect(row).toMatch(/>(aim reached|met|missed|not measured)<\/td><\/tr>$/)
      const storm = rows?.find((row) => row.includes('resume storm'))
      expect(storm).toContain('>aim reached<')
      expect(rows?.filter((row) => row.includes('a million')).every((row) => row.includes('>not measured<'))).toBe(true)
      expect(said.stdout).toContain('goals:')
    })

    it('can be made again, of this run and a later one', async () => {
      const later = join(dir, 'later.json')
      const runs = [{ ...report.runs[1], results: { byTopics: { 10000: { productShare: 0.6 } } } }]
      await writeFile(later, JSON.stringify({ ...report, runs }))
      const { stdout } = await bench(
        'report',
        '--with',
        later,
        '--with',
        join(dir, 'out.json'),
        '--report',
        join(dir, 'both'),
      )
      expect(stdout).toMatch(/against the floor +0.6 × +met\n/)
      const both = JSON.parse(await readFile(join(dir, 'both', 'bench.json'), 'utf8')) as Report
      expect(both.runs.map(({ scenario }) => scenario)).toEqual(NAMES)
    })

    it('names machine and versions, and the file with the figures, which lies beside it', async () => {
      expect(html).toContain(String(report.machine.os))
      expect(html).toContain(`node ${report.versions.node}`)
      expect(html).toContain('href="bench.json"')
      expect(JSON.parse(await readFile(join(dir, 'report', 'bench.json'), 'utf8'))).toEqual(report)
    })
  })
})

it('has a section in the README for each scenario, in their order, and a line of the usage', async () => {
  const readme = await readFile(new URL('../../bench/README.md', import.meta.url), 'utf8')
  const sections = [...readme.matchAll(/^## (\w+)$/gm)].map(([, name]) => name)
  expect(sections.filter((name) => NAMES.includes(name ?? ''))).toEqual(NAMES)
  const { stderr } = await bench('nothing').catch((error) => error)
  for (const { name, summary } of SCENARIOS) expect(stderr).toMatch(new RegExp(`^ +${name} +${summary}$`, 'm'))
  expect(readme).toContain(stderr.match(/^usage: (.*\n.*)$/m)[1].replace(/\n */, '\n  '))
})

/** Where a number is not the one of the path, any other one is taken. */
function leadsSomewhere(results: Figures, path: readonly string[]): boolean {
  let at: Figures | number | undefined = results
  for (const name of path) {
    if (typeof at !== 'object') return false
    const isNumber = /^\d+$/.test(name)
    at = at[name] ?? (isNumber ? Object.values(at)[0] : undefined)
  }
  return at !== undefined
}

it.each([
  ['an unknown scenario', ['nothing']],
  ['an unknown option', ['tokens', '--colour']],
  ['a time that is none', ['soak', '--minutes', 'long']],
  ['a report of nothing', ['report']],
])('%s is refused with the usage and exit code 2', async (_, args) => {
  const failed = await bench(...args).catch((error) => error)
  expect(failed.code).toBe(2)
  expect(failed.stderr).toContain('usage: npm run bench')
})
