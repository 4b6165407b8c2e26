/**
 * What a client may ask of Durable Streams subscriptions. A subscription tells of topics, so who looks at it or works for it must be
 * able to read all that it covers; who makes or changes it needs `manage` there, too, and may write to where it is told. A report of a
 * wake has the wake's own token, which is its right.
 */

import { LitetopicError } from '../../protocol/index.ts'
import type { WakerConfig } from '../../storage/index.ts'
import type { Gate } from '../access/gate.ts'
import type { Right } from '../access/rights.ts'
import type { Client } from '../client.ts'
import { literalStart, parsePattern } from './glob.ts'
import { bareName, checkRequest, type WakerRequest } from './request.ts'
import type { PublicKey } from './secrets.ts'
import type { WakerInfo, Wakers } from './wakers.ts'
import type { Acknowledged, Claim, WakeReport } from './waking.ts'

export class WakerVerbs {
  private readonly wakers: Wakers
  private readonly gate: Gate

  constructor(wakers: Wakers, gate: Gate) {
    this.wakers = wakers
    this.gate = gate
  }

  /** See `Wakers` for what each does and rejects with; and with ACCESS_DENIED, unless the client may. */
  async put(client: Client, id: string, request: WakerRequest): Promise<{ created: boolean; info: WakerInfo }> {
    this.checkCaller(client)
    const { config, topics } = checkRequest(request)
    for (const right of ['read', 'manage'] as const) this.allowAll(client, config, topics, right)
    if (config.wakeTopic !== null) this.gate.allow(client, config.wakeTopic, 'write')
    return this.wakers.put(id, request)
  }

  async get(client: Client, id: string): Promise<WakerInfo> {
    this.checkCaller(client)
    return this.known(client, id, 'read')
  }

  async delete(client: Client, id: string): Promise<void> {
    this.checkCaller(client)
    await this.known(client, id, 'manage').catch((error: unknown) => {
      if (!(error instanceof LitetopicError) || error.code !== 'SUBSCRIPTION_NOT_FOUND') throw error
    })
    return this.wakers.delete(id)
  }

  async link(client: Client, id: string, names: readonly string[]): Promise<void> {
    this.checkCaller(client)
    await this.known(client, id, 'manage')
    for (const name of names)
      for (const right of ['read', 'manage'] as const) this.gate.allow(client, bareName(name), right)
    return this.wakers.link(id, names)
  }

  async unlink(client: Client, id: string, name: string): Promise<void> {
    this.checkCaller(client)
    await this.known(client, id, 'manage')
    return this.wakers.unlink(id, name)
  }

  async claim(client: Client, id: string, worker: string): Promise<Claim> {
    this.checkCaller(client)
    await this.known(client, id, 'read')
    return this.wakers.claim(id, worker)
  }

  acknowledge(
    id: string,
    type: WakerConfig['type'],
    report: WakeReport,
    acks: readonly Acknowledged[],
    done: boolean,
  ): Promise<boolean> {
    return this.wakers.acknowledge(id, type, report, acks, done)
  }

  release(id: string, report: WakeReport): Promise<void> {
    return this.wakers.release(id, report)
  }

  publicKey(): Promise<PublicKey> {
    return this.wakers.publicKey()
  }

  private async known(client: Client, id: string, right: Right): Promise<WakerInfo> {
    const info = await this.wakers.get(id)
    const linked = info.topics.map(({ name }) => name)
    this.allowAll(client, info.config, linked, right)
    return info
  }

  private allowAll(client: Client, { pattern }: WakerConfig, topics: readonly string[], right: Right): void {
    // With a slash at its end it is what lies below.
    if (pattern !== null) this.gate.allowBelow(client, literalStart(parsePattern(pattern)).replace(/\/$/, ''), right)
    for (const name of topics) this.gate.allow(client, name, right)
  }

  /** Who may read nothing is not even told whether there is a subscription. Throws ACCESS_DENIED. */
  private checkCaller(client: Client): void {
    if (!client.identity.grants.has('read')) throw this.gate.refuse(client, '', 'read')
  }
}
