/** What `soak` rests on: readers that notice every wrong record, and bounds that notice every growth. */

import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import {
  beyond,
  GROWTH_BOUNDS,
  growthPerHour,
  REST_BOUNDS,
  type RestSample,
  remains,
  slope,
} from '../../bench/soak-bounds.ts'
import { Reading } from '../../bench/soak-reading.ts'
import type { SoakSample } from '../../bench/soak-samples.ts'
import { tokenText } from '../../bench/token-load.ts'
import type { SessionRecord } from '../../client/index.ts'

type Rest = Partial<Record<string, unknown>>

/** A record at this offset, or a run from it to `lastOffset`. */
function record(offset: number, rest: Rest): SessionRecord<unknown> {
  return { offset, lastOffset: offset, timeMs: 0, cursor: `after ${offset}`, live: true, ...rest } as never
}

const message = (offset: number, mark: number) => record(offset, { kind: 'message', value: { mark, text: 'hello' } })
const run = (offset: number, from: number, count: number) => {
  const text = Array.from({ length: count }, (_, i) => tokenText(from + i)).join('')
  return record(offset, { kind: 'token', streamId: 'reply', part: 'text', text, count, lastOffset: offset + count - 1 })
}
const stream = (offset: number, state: string) => record(offset, { kind: 'stream', streamId: 'reply', state })

function take(...records: SessionRecord<unknown>[]): Reading {
  const reading = new Reading()
  for (const one of records) reading.take(one, undefined)
  return reading
}

describe('a reading', () => {
  it('takes what was written, run by run or token by token, and says where it has come to', async () => {
    const reading = take(message(0, 0), stream(1, 'open'), run(2, 0, 3), run(5, 3, 1), stream(6, 'done'), message(7, 1))
    await reading.until(2)
    expect(reading).toMatchObject({ tokens: 4, marks: 2, cursor: 'after 7', states: ['open', 'done'] })
  })

  it('takes the content of a large message in place of its value', () => {
    const reading = new Reading()
    reading.take(record(0, { kind: 'message', large: {} }), { mark: 0, text: 'x' })
    expect(() => reading.take(record(1, { kind: 'message', large: {} }), { mark: 2, text: 'x' })).toThrow('mark 2')
  })

  it.each([
    ['lost', [message(0, 0), message(2, 1)], 'offset 2 came in place of 1'],
    ['repeated', [message(0, 0), message(0, 0)], 'offset 0 came in place of 1'],
    ['stored twice', [message(0, 0), message(1, 0)], 'mark 0 came in place of 1'],
    ['in the wrong order', [message(0, 1)], 'mark 1 came in place of 0'],
    ['a run with a gap', [run(0, 0, 2), run(2, 3, 2)], tokenText(3)],
    ['a run that overlaps', [run(0, 0, 2), run(2, 1, 2)], tokenText(1)],
    ['a run of another size', [{ ...run(0, 0, 2), count: 3 } as SessionRecord<unknown>], '3 tokens'],
  ])('refuses what is %s', (_, records, why) => {
    expect(() => take(...records)).toThrow(why)
  })

  it('tells who waits for it of what was wrong, before and after', async () => {
    const reading = new Reading()
    const waiting = reading.until(1)
    reading.fail(new Error('wrong'))
    await expect(waiting).rejects.toThrow('wrong')
    await expect(reading.until(1)).rejects.toThrow('wrong')
  })
})

describe('bounds', () => {
  const zero = { ...REST_BOUNDS, ...GROWTH_BOUNDS }
  const restWith = (figures: Partial<RestSample>): RestSample =>
    ({ ...Object.fromEntries(Object.keys(zero).map((name) => [name, 0])), seconds: 0, ...figures }) as RestSample

  it('are kept by what returns to where it was, or below', () => {
    const before = restWith({ brokerHeapBytes: 1000 })
    expect(beyond('more', remains(before, restWith({ brokerHeapBytes: 10 })), REST_BOUNDS)).toEqual([])
  })

  it.each(Object.entries(REST_BOUNDS))('%s may be more by %i, and not by one more', (name, bound) => {
    const [before, most] = [restWith({}), restWith({ [name]: bound })]
    expect(beyond('more', remains(before, most), REST_BOUNDS)).toEqual([])
    const found = beyond('more', remains(before, restWith({ [name]: bound + 1 })), REST_BOUNDS)
    expect(found).toEqual([`${name} more ${bound + 1}, and may by ${bound}`])
  })

  it('see what grows in the second half, whatever it did in the first', () => {
    const samples = Array.from({ length: 121 }, (_, i): SoakSample => {
      const seconds = i * 30
      // To twice as much in the first half, and then 6 MiB per hour.
      const brokerHeapBytes = seconds < 1800 ? seconds * 10_000 : 18_000_000 + ((seconds - 1800) / 3600) * 6 * 2 ** 20
      return i % 2 === 0
        ? restWith({ seconds, brokerHeapBytes })
        : { ...restWith({ seconds }), brokerHeapBytes: undefined }
    })
    const growth = growthPerHour(samples)
    expect(Math.abs(growth.brokerHeapBytes / (6 * 2 ** 20) - 1)).toBeLessThan(0.001)
    expect(beyond('grows', growth, GROWTH_BOUNDS)).toEqual([expect.stringContaining('brokerHeapBytes grows')])
  })

  it('are not kept by a figure that is missing', () => {
    expect(beyond('more', {}, { topics: 0 })).toHaveLength(1)
  })

  it('are those of the README', async () => {
    const readme = await readFile(new URL('../../bench/README.md', import.meta.url), 'utf8')
    const cells = (start: string) =>
      new RegExp(`^\\| ${start}.*?\\| (.*?) *\\| (.*?) *\\|$`, 'm').exec(readme)?.slice(1)
    const mebi = (bytes: number) => `${bytes / 2 ** 20} MiB`
    const [rest, growth] = [REST_BOUNDS, GROWTH_BOUNDS]
    expect(cells('heap of the broker')).toEqual([mebi(rest.brokerHeapBytes), mebi(growth.brokerHeapBytes)])
    expect(cells('buffers of the broker')).toEqual([mebi(rest.brokerExternalBytes), mebi(growth.brokerExternalBytes)])
    expect(cells('heap of the clients')).toEqual([mebi(rest.clientsHeapBytes), mebi(growth.clientsHeapBytes)])
    expect(cells('buffers of the clients')).toEqual([mebi(rest.clientsExternalBytes), ''])
    expect(cells('resident memory')).toEqual([mebi(rest.brokerAnonBytes), `${mebi(growth.brokerAnonBytes)} (RssAnon)`])
    expect(cells('open files')).toEqual([`${rest.openFiles}`, `${growth.openFiles}`])
    expect(cells('disk, files')).toEqual([`${mebi(rest.diskBytes)}, ${rest.diskFiles}`, mebi(growth.diskBytes)])
    expect(readme).toMatch(new RegExp(`^\\| topics +\\| ${rest.topics} +\\| ${growth.topics} +\\|$`, 'm'))
  })

  it('a slope is that of the line through the points; of less than two it is 0', () => {
    expect(
      slope([
        [0, 1],
        [1, 3],
        [2, 5],
      ]),
    ).toBe(2)
    expect([slope([]), slope([[1, 1]])]).toEqual([0, 0])
  })
})
