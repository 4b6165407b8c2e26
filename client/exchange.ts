/** Requests and their answers: numbers for what is asked on one connection, and what must be asked again on the next. */

import {
  asLitetopicError,
  checkReply,
  checkUp,
  DOWN,
  type Down,
  LitetopicError,
  type ReplyOf,
  type RequestType,
  type UpFrame,
} from '../protocol/index.ts'
import type { Clock } from './clock.ts'
import { brokerError, PROBE_REQUEST } from './link.ts'
import { retryDelayMs } from './passing.ts'

/** One request on one connection. Exactly one of the three is called. */
export interface Exchange {
  readonly type: RequestType
  frame(request: number): UpFrame
  /** The reply has been checked to be one for this type. */
  answered(reply: unknown): void
  refused(error: LitetopicError): void
  /** The connection was lost before an answer came. */
  lost(): void
}

/** What waits for an answer on the present connection. */
export class ExchangeTable {
  private readonly open = new Map<number, Exchange>()
  private last = 0

  /**
   * The frame to send; null if an option lies outside its range, which has been told. A broker would close the connection
   * on such a frame, for all that share it.
   */
  begin(exchange: Exchange): UpFrame | null {
    do this.last = (this.last % (PROBE_REQUEST - 1)) + 1
    while (this.open.has(this.last))
    const frame = exchange.frame(this.last)
    const wrong = checkUp(frame)
    if (wrong !== undefined) {
      exchange.refused(new LitetopicError('BAD_REQUEST', `an option is out of its range: ${wrong}`))
      return null
    }
    this.open.set(this.last, exchange)
    return frame
  }

  /** Throws BAD_FRAME for a reply that nobody waits for or of the wrong shape. */
  settle(frame: Down<typeof DOWN.reply> | Down<typeof DOWN.error> | Down<typeof DOWN.moved>): void {
    const exchange = this.open.get(frame[1])
    if (exchange === undefined)
      throw new LitetopicError('BAD_FRAME', `an answer to request ${frame[1]}, which is not open`)
    this.open.delete(frame[1])
    switch (frame[0]) {
      case DOWN.reply:
        exchange.answered(checkReply(exchange.type, frame[2]))
        return
      case DOWN.error:
        exchange.refused(brokerError(frame[2], frame[3], frame[4]))
        return
      case DOWN.moved:
        exchange.refused(
          new LitetopicError('BROKER_UNREACHABLE', `the topic is served at ${frame[2]}`, { url: frame[2] }),
        )
        return
    }
  }

  lost(): void {
    const open = [...this.open.values()]
    this.open.clear()
    for (const exchange of open) exchange.lost()
  }
}

interface Asked {
  readonly exchange: Exchange
  readonly fail: (error: LitetopicError) => void
  /** Until it is asked again, after the broker said when. */
  timer?: unknown
}

/**
 * Requests that are asked again on the next connection until they are answered, because asking twice does no harm.
 * `send` sends one, or returns false while it cannot.
 */
export class RequestQueue {
  private readonly clock: Clock
  private readonly send: (exchange: Exchange) => boolean
  private readonly unanswered = new Set<Asked>()
  private waiting: Asked[] = []

  constructor(clock: Clock, send: (exchange: Exchange) => boolean) {
    this.clock = clock
    this.send = send
  }

  get idle(): boolean {
    return this.unanswered.size === 0
  }

  ask<R extends RequestType>(type: R, frame: (request: number) => UpFrame): Promise<ReplyOf<R>> {
    return new Promise((resolve, reject) => {
      const done = (): boolean => this.unanswered.delete(asked)
      const asked: Asked = {
        exchange: {
          type,
          frame,
          answered: (reply) => {
            if (done()) resolve(reply as ReplyOf<R>)
          },
          refused: (error) => {
            if (error.code === 'SHUTTING_DOWN') this.waiting.push(asked)
            else if (error.code === 'RATE_LIMITED') this.askLater(asked, error)
            else if (done()) reject(error)
          },
          lost: () => {
            if (this.unanswered.has(asked)) this.waiting.push(asked)
          },
        },
        fail: reject,
      }
      this.unanswered.add(asked)
      if (!this.send(asked.exchange)) this.waiting.push(asked)
    })
  }

  private askLater(asked: Asked, error: LitetopicError): void {
    const again = (): void => {
      if (!this.send(asked.exchange)) this.waiting.push(asked)
    }
    asked.timer = this.clock.setTimeout(again, retryDelayMs(error, this.clock.random()))
  }

  /** Sends what has been waiting for a connection. */
  resume(): void {
    const waiting = this.waiting
    this.waiting = []
    for (const asked of waiting) if (!this.send(asked.exchange)) this.waiting.push(asked)
  }

  /** Rejects everything that has no answer yet. */
  fail(error: unknown): void {
    const unanswered = [...this.unanswered]
    this.unanswered.clear()
    this.waiting = []
    for (const asked of unanswered) {
      this.clock.clearTimeout(asked.timer)
      asked.fail(asLitetopicError(error))
    }
  }
}
