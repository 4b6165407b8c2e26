/**
 * The verbs that name a topic instead of using an attachment: what there is, and what becomes of it. Each asks the gate first, as
 * those of operations.ts do.
 */

import {
  checkPrefix,
  checkTopicName,
  type PolicyInfo,
  type ReplyOf,
  type RequestType,
  type UP,
} from '../protocol/index.ts'
import type { Authority, IssuedToken } from './access/authority.ts'
import type { Right } from './access/rights.ts'
import type { TokenRequest } from './access/tokens.ts'
import type { Client } from './client.ts'
import { allCommitted, type Context } from './context.ts'
import { description, list } from './describe.ts'
import { type ForkRequest, fork } from './fork.ts'
import { missing, recreated } from './outcomes.ts'
import { effectivePolicy, policyInfo, storedPolicy } from './policy.ts'
import type { Reclaimer } from './reclaim.ts'
import type { Topic } from './topic.ts'

export type Reply<R extends RequestType> = Promise<ReplyOf<R>>

export abstract class NamedOperations {
  protected readonly context: Context
  protected readonly reclaimer: Reclaimer
  private readonly authority: Authority

  constructor(context: Context, reclaimer: Reclaimer, authority: Authority) {
    this.context = context
    this.reclaimer = reclaimer
    this.authority = authority
  }

  /** The policy that would be in force for a topic of that name with this of its own. Throws BAD_REQUEST. */
  policyFor(client: Client, name: string, own: PolicyInfo): PolicyInfo {
    this.context.gate.allowAny(client, name)
    return policyInfo(effectivePolicy(this.context.policies, name, storedPolicy(own)))
  }

  async describe(client: Client, name: string): Reply<typeof UP.describe> {
    this.context.gate.allow(client, name, 'read')
    const isResident = this.context.registry.resident(checkTopicName(name)) !== undefined
    return this.withTopic(name, (topic) => {
      if (topic === null) throw missing(name, false)
      return using(topic, () => description(this.context, topic, isResident))
    })
  }

  /** Those that the client may read. */
  async list(client: Client, prefix: string, options: { after?: string; limit?: number }): Reply<typeof UP.list> {
    return list(this.context, client.identity.grants, checkPrefix(prefix), options)
  }

  /** Deletes the topic; with an epoch, only that incarnation. */
  async delete(client: Client, name: string, epoch: number | null): Reply<typeof UP.delete> {
    this.context.gate.allow(client, name, 'manage')
    return this.withTopic(checkTopicName(name), async (topic) => {
      if (topic === null) {
        // Perhaps it is just being deleted.
        await allCommitted(this.context, null)
        return { deleted: false }
      }
      if (epoch !== null && topic.state.epoch !== epoch) throw recreated(topic)
      this.context.gate.note('delete', client, { topic: name })
      await this.reclaimer.delete(topic, 'deleted')
      return { deleted: true }
    })
  }

  /** A new topic that shares the records of this one up to some point; see `fork.ts`. */
  async fork(client: Client, name: string, request: ForkRequest): Reply<typeof UP.fork> {
    this.context.gate.allow(client, name, 'read')
    this.context.gate.allow(client, request.as, 'write')
    return this.withTopic(checkTopicName(name), (topic) => {
      if (topic === null) throw missing(name, request.epoch !== undefined)
      return using(topic, () => fork(this.context, client, topic, request))
    })
  }

  /** Was a topic of that name deleted whose records forks still share? It says so for a moment longer. */
  async isHidden(client: Client, name: string): Promise<boolean> {
    this.context.gate.allowAny(client, name)
    return this.context.shard.isHidden(checkTopicName(name))
  }

  /** Throws ACCESS_DENIED unless the client has the right: for what asks for several verbs, of which none is to be done then. */
  require(client: Client, name: string, right: Right): void {
    this.context.gate.allow(client, name, right)
  }

  /** A token for somebody else, who may do some of what the client may; see `Authority.issue`. */
  async issueToken(client: Client, request: TokenRequest): Promise<IssuedToken> {
    return this.authority.issue(client, request)
  }

  /** Calls `use` with the topic of that name made resident, or with null. It must decide before it waits for anything. */
  private withTopic<T>(name: string, use: (topic: Topic | null) => T | Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.context.registry.whenFound(name, (failure, topic) => {
        try {
          if (failure !== null) throw failure
          resolve(use(this.reclaimer.alive(topic)))
        } catch (error) {
          reject(error)
        }
      })
    })
  }
}

/** Keeps the topic resident until the work is done. */
export async function using<T>(topic: Topic, work: (topic: Topic) => Promise<T>): Promise<T> {
  topic.uses++
  try {
    return await work(topic)
  } finally {
    topic.uses--
  }
}
