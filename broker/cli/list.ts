/** `litetopic list`: the topics there are, page by page, so that a million of them are no matter of memory. */

import type { Broker, TopicInfo } from '../../client/index.ts'
import { formatDuration } from './duration.ts'
import { formatBytes, formatTime, jsonLine, table, write } from './output.ts'
import { type RemoteOptions, withBroker } from './remote.ts'

export interface ListOptions extends RemoteOptions {
  /** One topic as a line of JSON, instead of a table. */
  readonly json?: boolean
}

const PAGE = 500
const HEADER = ['TOPIC', 'RECORDS', 'BYTES', 'HOLD', 'RESIDENCY', 'LINGER', 'LAST APPEND']
const NUMBERS = new Set([1, 2])

/** Prints the topics below the prefix in order of name. */
export async function list(prefix: string, options: ListOptions): Promise<void> {
  await withBroker(options, async (broker) => {
    let first = true
    for await (const topics of pages(broker, prefix)) {
      if (options.json) await write(topics.map(jsonLine).join(''))
      else await write(table([...(first ? [HEADER] : []), ...topics.map(row)], NUMBERS))
      first = false
    }
  })
}

async function* pages(broker: Broker, prefix: string): AsyncGenerator<readonly TopicInfo[]> {
  let after: string | undefined
  for (;;) {
    const { topics, more } = await broker.list({ prefix, after, limit: PAGE })
    yield topics
    after = topics.at(-1)?.name
    if (!more || after === undefined) return
  }
}

function row(topic: TopicInfo): string[] {
  return [
    topic.name,
    String(topic.nextOffset - topic.firstOffset),
    formatBytes(topic.bytes),
    topic.hold,
    topic.residency,
    formatDuration(topic.lingerMs),
    formatTime(topic.lastAppendMs),
  ]
}
