/** The reference server of Durable Streams in a process of its own: on files, or without a directory in memory. */

import { DurableStreamTestServer } from '@durable-streams/server'

const [dataDir = '', port = '0'] = process.argv.slice(2)

// It tells of every slow write and of every stream that it recovers.
for (const method of ['info', 'warn'] as const) console[method] = () => undefined
const server = new DurableStreamTestServer({
  host: '127.0.0.1',
  port: Number(port),
  ...(dataDir === '' ? {} : { dataDir }),
})
await server.start()
process.on('disconnect', () => process.exit(1))
process.once('SIGTERM', async () => {
  await server.stop()
  process.exit(0)
})
process.send?.(Number(new URL(server.url).port))
