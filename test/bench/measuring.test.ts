/** What every figure of the suite rests on: percentiles, times that hide no delay, and readers that notice every wrong token. */

import { describe, expect, it } from 'vitest'
import { barsSvg } from '../../bench/bars.ts'
import { Histogram } from '../../bench/histogram.ts'
import { plotSvg } from '../../bench/plot.ts'
import { Schedule, TokenReaders, tokenText } from '../../bench/token-load.ts'
import type { Session, StreamWriter } from '../../client/index.ts'
import { tagErrors } from './tags.ts'

describe('percentiles', () => {
  it('are those of the samples, at most 1.6 % above', () => {
    const histogram = new Histogram()
    for (let i = 1; i <= 100_000; i++) histogram.add(i / 10)
    const exact = { p50: 5000, p90: 9000, p99: 9900, p999: 9990, max: 10_000 }
    for (const [name, value] of Object.entries(histogram.percentiles())) {
      const wanted = exact[name as keyof typeof exact]
      expect(value).toBeGreaterThanOrEqual(wanted)
      expect(value).toBeLessThanOrEqual(wanted * 1.016)
    }
  })

  it('of two processes together are those of all samples', () => {
    const [all, one, other] = [new Histogram(), new Histogram(), new Histogram()]
    for (let i = 1; i <= 1000; i++) {
      all.add(i)
      if (i % 3 === 0) one.add(i)
      else other.add(i)
    }
    one.merge(JSON.parse(JSON.stringify(other.buckets())))
    expect(one.percentiles()).toEqual(all.percentiles())
    one.merge(new Histogram().buckets())
    expect(one.percentiles()).toEqual(all.percentiles())
  })

  it('of a single sample are that sample, and of none are zero', () => {
    const histogram = new Histogram()
    expect(histogram.percentiles()).toEqual({ p50: 0, p90: 0, p99: 0, p999: 0, max: 0 })
    histogram.add(1234.56)
    expect(histogram.percentiles()).toEqual({ p50: 1234.56, p90: 1234.56, p99: 1234.56, p999: 1234.56, max: 1234.56 })
  })
})

/** A reader's session that gives these texts as tokens, and then nothing more. */
function sessionOf(texts: readonly string[]): Session<unknown> {
  const records = texts.map((text) => ({ kind: 'token', text }))
  const batches = async function* () {
    yield records
    await new Promise(() => undefined)
  }
  return { batches } as unknown as Session<unknown>
}

describe('readers', () => {
  const right = [tokenText(0), tokenText(1), tokenText(2)]

  it('accept what was written', async () => {
    const readers = new TokenReaders()
    readers.add(sessionOf(right))
    await readers.reached(3)
    readers.check(3)
  })

  it.each([
    ['lost', [tokenText(0), tokenText(2)]],
    ['repeated', [tokenText(0), tokenText(0), tokenText(1)]],
    ['out of order', [tokenText(1), tokenText(0)]],
    ['wrong', [tokenText(0), 'x']],
  ])('refuse a token that is %s', async (_, texts) => {
    const readers = new TokenReaders()
    readers.add(sessionOf(texts))
    await expect(readers.reached(texts.length)).rejects.toThrow('reader 0: expected')
  })

  it('refuse too few and too many', async () => {
    const readers = new TokenReaders()
    readers.add(sessionOf(right))
    await readers.reached(3)
    expect(() => readers.check(4)).toThrow('reader 0 got 3 of 4 tokens')
    expect(() => readers.check(2)).toThrow('reader 0 got 3 of 2 tokens')
  })

  it('count a delay of the writer as a delay of every token behind it', async () => {
    const written: { text: string; atMs: number }[] = []
    const write = (text: string): boolean => {
      if (written.length === 0) for (const until = performance.now() + 60; performance.now() < until; );
      written.push({ text, atMs: performance.now() })
      return true
    }
    const writer = { write, flush: async () => undefined } as unknown as StreamWriter
    const schedule = new Schedule(1, 0, 1000)
    await schedule.run([writer], 80)
    expect(written.map(({ text }) => text)).toEqual(Array.from({ length: 80 }, (_, i) => tokenText(i)))
    const meantMs = written.map((_, index) => schedule.sentMs(0, index) - schedule.sentMs(0, 0))
    expect(meantMs).toEqual(written.map((_, index) => index))
    // The one meant for 20 ms after the first was held up for the rest of the 60 ms.
    expect((written[20]?.atMs ?? 0) - schedule.sentMs(0, 20)).toBeGreaterThanOrEqual(39)
    expect(schedule.late.percentiles().max).toBeGreaterThanOrEqual(39)
  })
})

it('a plot escapes its words, and stands what cannot be drawn', () => {
  const axis = { label: 'a < b & "c"', log: true }
  const series = [
    { label: '<none>', points: [] },
    { label: 'zero', points: [[0, 0] as const] },
  ]
  const svg = plotSvg({ title: '</svg>', x: axis, y: { label: 'y' }, series })
  expect(tagErrors(svg)).toEqual([])
  expect(svg).not.toMatch(/NaN|Infinity|undefined/)
})

it('a bar plot draws each value to scale, escapes its words, and stands having nothing to draw', () => {
  const bars = [
    { label: 'a < b', value: 50 },
    { label: 'all', value: 200 },
    { label: 'none', value: 0 },
  ]
  const svg = barsSvg({ title: '</svg>', unit: '&/s', bars })
  const widths = [...svg.matchAll(/<rect class="bar s\d" [^>]*width="([\d.]+)"/g)].map(([, width]) => Number(width))
  expect(widths[0]).toBe((widths[1] ?? 0) / 4)
  expect(widths[2]).toBe(0)
  for (const drawn of [svg, barsSvg({ title: '', unit: '', bars: [] })]) {
    expect(tagErrors(drawn)).toEqual([])
    expect(drawn).not.toMatch(/NaN|Infinity|undefined/)
  }
})
