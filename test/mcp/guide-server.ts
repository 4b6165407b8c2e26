/** The MCP server of the guide, run as it stands there, with a tool whose steps a test lets go on. */

import { randomUUID } from 'node:crypto'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import { z } from 'zod'
import type { Broker } from '../../client/index.ts'
import { LitetopicEventStore } from '../../client/mcp/index.ts'
import { runSample } from '../guides.ts'
import type { Permit } from '../permits.ts'

export const GUIDE = new URL('../../client/mcp/README.md', import.meta.url)

/** The sample, but for how soon its clients come back. */
export function quick(sample: string): string {
  return sample.replace('retryInterval: 1000', 'retryInterval: 5')
}

export interface GuideServer {
  readonly port: number
  readonly server: Server
  /** Of the sessions, the newest last. */
  readonly mcpServers: McpServer[]
  /** Transports that were not closed yet. */
  readonly open: Set<unknown>
  readonly errors: unknown[]
}

/** `permit`: for each step of its tool. */
export async function serveGuide(sample: string, broker: Broker, permit: Permit, port = 0): Promise<GuideServer> {
  const mcpServers: McpServer[] = []
  const open = new Set<unknown>()
  const errors: unknown[] = []
  let server: Server | undefined
  const mcpServer = (): McpServer => {
    const made = countingServer(permit)
    mcpServers.push(made)
    open.add(made)
    made.server.onclose = () => open.delete(made)
    made.server.onerror = (error) => errors.push(error)
    return made
  }
  const given = {
    randomUUID,
    createServer: (listener: RequestListener) => {
      server = createServer(listener)
      return { listen: () => undefined }
    },
    StreamableHTTPServerTransport,
    connect: () => broker,
    LitetopicEventStore,
    mcpServer,
  }
  await runSample(sample, given)
  if (server === undefined) throw new Error('the sample makes no server')
  const made = server
  await new Promise<void>((resolve) => made.listen(port, '127.0.0.1', resolve))
  return { port: (made.address() as AddressInfo).port, server: made, mcpServers, open, errors }
}

/** Its tool `count` tells of each step before it answers; the last one is as large as it is told. */
function countingServer(permit: Permit): McpServer {
  const server = new McpServer({ name: 'counting', version: '1' }, { capabilities: { logging: {} } })
  const inputSchema = { steps: z.number(), lastBytes: z.number().optional() }
  server.registerTool('count', { inputSchema }, async ({ steps, lastBytes = 0 }, extra) => {
    const progressToken = extra._meta?.progressToken as string | number
    for (let progress = 1; progress <= steps; progress++) {
      await permit(progress)
      const message = 'x'.repeat(progress === steps ? lastBytes : 0)
      const sent = extra.sendNotification({
        method: 'notifications/progress',
        params: { progressToken, progress, message },
      })
      // Nobody waits for the last one, which the answer must not overtake.
      if (progress < steps) await sent
    }
    return { content: [{ type: 'text', text: `counted ${steps}` }] }
  })
  return server
}
