/** The guide's A2A server as a process: `server-process.ts GUIDE BROKER PORT`. It prints its port. Its agent waits for permits. */

import { connect } from '../../client/index.ts'
import { sampleOf } from '../guides.ts'
import { permitsOf } from '../permits.ts'
import { serveGuide } from './guide-server.ts'

const [guide = '', url = '', port = '0'] = process.argv.slice(2)
const broker = connect(url, { reconnect: { minMs: 1, maxMs: 20 } })
const serving = await serveGuide(sampleOf(guide, 'Use it'), broker, permitsOf(broker), Number(port))
console.log(`port ${serving.port} ready`)
