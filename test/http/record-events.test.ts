/** Records as events: wherever a connection breaks, and however batches are gathered, a reader gets all of it once and in order. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { coalesce } from '../../broker/coalesce.ts'
import { type EventOptions, eventsOf } from '../../broker/http/sessions/record-events.ts'
import { parseCursor } from '../../protocol/index.ts'
import { type AnyRecord, encodeBatch, records as someRecords } from '../protocol/arbitraries.ts'
import { EventParser, type ParsedEvent } from './event-parser.ts'
import { type Json, recordsOf } from './event-reader.ts'

const ORIGIN = { incarnation: '0123456789ab', epoch: 12_289 }

/** Appends one behind the other, as one read of the log has them. */
function logOf(appends: readonly (readonly AnyRecord[])[]): Buffer {
  let base = 0
  const batches = appends.map((list) => {
    base += list.length
    return encodeBatch(base - list.length, list)
  })
  return Buffer.concat(batches)
}

/** What a reader at the position gets, of batches as they lie in the log, or one by one as they are gathered while it catches up. */
function read(log: Uint8Array, position: number, options: EventOptions, gathered: boolean): readonly ParsedEvent[] {
  const parser = new EventParser()
  const take = (bytes: Uint8Array, from: number, to: number, at: number): void => {
    parser.feed(Buffer.from(eventsOf(bytes, from, to, at, ORIGIN, options)))
  }
  if (!gathered) take(log, 0, log.length, position)
  else {
    let at = position
    coalesce(log, position, Number.POSITIVE_INFINITY, (bytes, from, to, next) => {
      take(bytes, from, to, at)
      at = next
      return true
    })
  }
  return parser.events
}

/** What tokens come to, by stream, part and tag, and all that is none. Each JSON value counts by itself. */
function contentOf(found: readonly Json[]): { others: Json[]; tokens: Record<string, string> } {
  const tokens: Record<string, string> = {}
  for (const { kind, streamId, part, text, json, base64 } of found) {
    if (kind !== 'token') continue
    const add = (tag: string, content: string): void => {
      const key = JSON.stringify([streamId, part, tag])
      if (content !== '') tokens[key] = (tokens[key] ?? '') + content
    }
    if (json !== undefined) add('json', `${JSON.stringify(json)};`)
    add('text', (text as string | undefined) ?? '')
    add('bytes', Buffer.from((base64 as string | undefined) ?? '', 'base64').toString('hex'))
  }
  return { others: found.filter(({ kind }) => kind !== 'token'), tokens }
}

const appends = fc.array(someRecords, { minLength: 1, maxLength: 8 })
const breaks = fc.array(fc.record({ gathered: fc.boolean(), events: fc.integer({ min: 1, max: 4 }) }), {
  minLength: 1,
  maxLength: 40,
})

test.each([true, false])('raw: %s', (raw) => {
  fc.assert(
    fc.property(appends, breaks, (written, plan) => {
      const log = logOf(written)
      const end = written.flat().length
      const all = recordsOf(read(log, 0, { raw: true }, false))
      expect(all.map(({ offset }) => offset)).toEqual(Array.from({ length: end }, (_, offset) => offset))
      const found: Json[] = []
      let position = 0
      for (let i = 0; position < end; i++) {
        const { gathered, events } = plan[i % plan.length] as (typeof plan)[number]
        for (const event of read(log, position, { raw }, gathered && !raw).slice(0, events)) {
          const list = recordsOf([event])
          expect(new Set(list.map(({ kind }) => kind))).toEqual(new Set([event.event]))
          found.push(...list)
          const { next, ...origin } = parseCursor(event.id)
          expect(origin).toEqual(ORIGIN)
          expect(next).toBeGreaterThan(position)
          position = next
        }
      }
      if (raw) expect(found).toEqual(all)
      else expect(contentOf(found)).toEqual(contentOf(all))
    }),
    { numRuns: 150 },
  )
})
