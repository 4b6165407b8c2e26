/**
 * The guide's MCP server as a process: `server-process.ts GUIDE BROKER PORT`. It prints its port, and a line when a client asks for a stream.
 * Its tool waits before each step for a message in the topic `permits`.
 */

import { connect } from '../../client/index.ts'
import { sampleOf } from '../guides.ts'
import { quick, serveGuide } from './guide-server.ts'

const [guide = '', url = '', port = '0'] = process.argv.slice(2)
const broker = connect(url, { reconnect: { minMs: 1, maxMs: 20 } })
let permitted = 0
let look = (): void => undefined

async function watch(): Promise<void> {
  const permits = await broker.session<number>('permits')
  for await (const record of permits.records()) {
    if (record.kind !== 'message' || record.large) continue
    permitted = record.value
    look()
  }
}

void watch()
const permit = async (step: number): Promise<void> => {
  while (permitted < step) {
    await new Promise<void>((resolve) => {
      look = resolve
    })
  }
}
const serving = await serveGuide(quick(sampleOf(guide, 'Use it')), broker, permit, Number(port))
serving.server.on('request', (request) => console.log(`${request.method} asked`))
console.log(`port ${serving.port} ready`)
