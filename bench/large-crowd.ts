/**
 * Many large messages at once, on a broker of their own: its memory must not depend on how many. Each upload and each reader
 * has a connection of its own. In a first wave all upload; in a second one all upload again, while others read what came first.
 */

import { type Broker, connect } from '../client/index.ts'
import { BrokerProcess } from './broker-process.ts'
import { contentOf, MemoryPeak, Received } from './large-load.ts'
import type { Figures } from './scenario.ts'

export interface CrowdSize {
  readonly uploads: number
  readonly messageBytes: number
}

/** Rejects if a message is not what was sent. */
export async function crowd({ uploads, messageBytes }: CrowdSize): Promise<Figures> {
  const broker = await BrokerProcess.start()
  const clients: Broker[] = []
  const client = (): Broker => {
    const opened = connect(broker.url)
    clients.push(opened)
    return opened
  }
  try {
    const content = contentOf(messageBytes)
    const each = Array.from({ length: uploads }, (_, i) => `crowd/${i}`)
    const writers = await Promise.all(each.map((name) => client().session(name)))
    const readers = await Promise.all(each.map((name) => client().session(name, { observe: true })))
    const received = readers.map((session) => new Received(session))
    const memory = new MemoryPeak(broker)
    const upload = () => Promise.all(writers.map((session) => session.append(content)))
    const read = () => Promise.all(received.map((messages) => messages.next(content)))
    const startedMs = performance.now()
    await upload()
    const uploadedMs = performance.now()
    await Promise.all([upload(), read()])
    const bothMs = performance.now()
    await read()
    const peak = memory.end()
    const { heapBytes, externalBytes } = await broker.ask('collect')
    const perSecond = (ms: number): number => Math.round((uploads * messageBytes) / 1000 / ms)
    return {
      uploadedMegabytesPerSecond: perSecond(uploadedMs - startedMs),
      uploadedBesideReadersMegabytesPerSecond: perSecond(bothMs - uploadedMs),
      memory: { ...peak, collectedAnonBytes: broker.anonBytes(), heapBytes, externalBytes },
    }
  } finally {
    await Promise.all(clients.map((opened) => opened.close()))
    await broker.stop()
  }
}
