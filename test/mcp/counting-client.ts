/** The SDK's own client, which counts with the server and remembers all that it was told. */

import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { CallToolResultSchema } from '@modelcontextprotocol/sdk/types.js'
import { onTestFinished } from 'vitest'

export interface CountingClient {
  readonly client: Client
  readonly transport: StreamableHTTPClientTransport
  /** The steps it was told of, in order. */
  readonly steps: number[]
  /** Bytes of the messages that came with them. */
  readonly bytes: number[]
  /** Resolves with the text of the answer. */
  count(steps: number, lastBytes?: number): Promise<string>
}

/** Comes back at once, as often as it takes. */
export async function countingClient(url: string): Promise<CountingClient> {
  const client = new Client({ name: 'test', version: '1' })
  const transport = new StreamableHTTPClientTransport(new URL(url), {
    reconnectionOptions: {
      initialReconnectionDelay: 1,
      maxReconnectionDelay: 20,
      reconnectionDelayGrowFactor: 1.5,
      maxRetries: 10_000,
    },
  })
  onTestFinished(() => client.close())
  await client.connect(transport)
  const steps: number[] = []
  const bytes: number[] = []
  const count = async (total: number, lastBytes?: number): Promise<string> => {
    const result = await client.callTool(
      { name: 'count', arguments: { steps: total, lastBytes } },
      CallToolResultSchema,
      {
        timeout: 100_000,
        onprogress: ({ progress, message }) => {
          steps.push(progress)
          bytes.push(message?.length ?? 0)
        },
      },
    )
    return (result.content as { text: string }[]).map(({ text }) => text).join()
  }
  return { client, transport, steps, bytes, count }
}
