/**
 * The other side of `floor`: takes messages, writes as many of them at once into LevelDB as the product's commits held, with
 * fsync, then acknowledges them and hands the same bytes to the reader. No decoding, no topics, no table.
 */

import type { AddressInfo } from 'node:net'
import { type WebSocket, WebSocketServer } from 'ws'
import { LIMITS } from '../protocol/index.ts'
import { openLevel } from '../storage/leveldb/level-handle.ts'
import type { FloorSizes } from './floor.ts'

const sizes = JSON.parse(process.argv[2] ?? '{}') as FloorSizes
const { messages, messageBytes, commitBytes, ackBytes, deliveries, deliveryBytes } = sizes
const directory = process.argv[3] ?? ''

// As the product opens its journal.
const options = { writeBufferBytes: 16 * 1024 * 1024, cacheBytes: 1024 * 1024, compression: false }
const db = await openLevel(directory, options)
const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false })
const gathered: Buffer[] = []
let publisher: WebSocket | null = null
let reader: WebSocket | null = null
let committing = false
let number = 0

server.on('connection', (socket, { url }) => {
  if (url === '/reader') {
    reader = socket
    return
  }
  publisher = socket
  socket.on('message', (data: Buffer) => {
    gathered.push(data)
    if (!committing && gathered.length >= messages) void commitAll()
  })
})
await new Promise((resolve) => server.once('listening', resolve))

process.on('disconnect', () => process.exit(1))
process.once('SIGTERM', async () => {
  for (const socket of server.clients) socket.terminate()
  server.close()
  await db.close()
  process.exit(0)
})
process.send?.((server.address() as AddressInfo).port)

async function commitAll(): Promise<void> {
  committing = true
  try {
    while (gathered.length >= messages) await commit(gathered.splice(0, messages))
  } finally {
    committing = false
  }
}

async function commit(taken: readonly Buffer[]): Promise<void> {
  const bytes = Buffer.allocUnsafe(Math.max(messages * messageBytes, commitBytes, deliveries * deliveryBytes))
  for (const [i, message] of taken.entries()) message.copy(bytes, i * messageBytes)
  const entries = []
  for (let from = 0; from < commitBytes; from += LIMITS.journalEntryBytes) {
    const key = Buffer.alloc(8)
    key.writeDoubleBE(++number)
    entries.push({ key, value: bytes.subarray(from, Math.min(commitBytes, from + LIMITS.journalEntryBytes)) })
  }
  await db.write(entries, true)
  publisher?.send(bytes.subarray(0, ackBytes))
  const sent = Promise.all(
    Array.from({ length: deliveries }, (_, i) => send(bytes.subarray(i * deliveryBytes, (i + 1) * deliveryBytes))),
  )
  // As much as the product lets a socket hold.
  if ((reader?.bufferedAmount ?? 0) > LIMITS.socketBufferBytes) await sent
}

function send(message: Buffer): Promise<void> {
  return new Promise((resolve) => {
    if (reader === null) resolve()
    else reader.send(message, () => resolve())
  })
}
