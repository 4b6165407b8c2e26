/**
 * The guide's MCP server as a process: `server-process.ts GUIDE BROKER PORT`. It prints its port, and a line for each request. Its tool waits
 * before each step for a permit.
 */

import { connect } from '../../client/index.ts'
import { sampleOf } from '../guides.ts'
import { permitsOf } from '../permits.ts'
import { quick, serveGuide } from './guide-server.ts'

const [guide = '', url = '', port = '0'] = process.argv.slice(2)
const broker = connect(url, { reconnect: { minMs: 1, maxMs: 20 } })
const serving = await serveGuide(quick(sampleOf(guide, 'Use it')), broker, permitsOf(broker), Number(port))
serving.server.on('request', (request) => console.log(`${request.method} asked`))
console.log(`port ${serving.port} ready`)
