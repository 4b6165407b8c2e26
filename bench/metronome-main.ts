/**
 * A process that writes a token to each of a few topics at a steady rate, and times what it reads of the last of them, so
 * that what holds up the process of the scenario is not taken for the broker's doing.
 */

import { connect } from '../client/index.ts'
import type { MetronomeOrder, MetronomeSettings } from './metronome.ts'
import { openWriters, Schedule, TokenReaders } from './token-load.ts'

const { url, prefix, topics, perSecond } = JSON.parse(process.argv[2] ?? '{}') as MetronomeSettings
const publisher = connect(url)
const reader = connect(url)
const writers = await openWriters(publisher, prefix, topics)
const readers = new TokenReaders()
readers.add(await reader.session(`${prefix}/${topics - 1}`, { observe: true }))

const schedule = new Schedule(topics, 0, perSecond * topics)
// The reader is numbered 0 and reads the last topic.
const sentMs = (_reader: number, index: number): number => schedule.sentMs(topics - 1, index)
let delivery = readers.time(1, sentMs)
let running: Promise<void> | null = null

process.on('message', async ({ order, count }: MetronomeOrder) => {
  if (order === 'go') {
    running = schedule.run(writers, count ?? Number.POSITIVE_INFINITY)
    process.send?.(performance.timeOrigin + schedule.sentMs(0, 0))
    return
  }
  if (order === 'end') schedule.end()
  if (order !== 'beats') await running
  const written = Math.floor(schedule.sent / topics)
  await readers.reached(written)
  if (order !== 'beats') readers.check(written)
  process.send?.({ written, deliveryMs: delivery.percentiles() })
  delivery = readers.time(1, sentMs)
})
process.on('disconnect', () => process.exit(0))
process.send?.('ready')
