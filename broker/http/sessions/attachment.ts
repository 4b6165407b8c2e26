/**
 * Attaching over HTTP: an answer that stays open holds the topic, tells what happens to it, and is the connection of the streams
 * that requests of its producer open. See HTTP.md, Attachments.
 */

import type { NoticeEvent, NoticeFacts } from '../../client.ts'
import { type ComeBack, comeBack, randomDelayMs } from '../../come-back.ts'
import { eventText, retryText } from '../event-text.ts'
import type { Face } from '../face.ts'
import type { App, Reply, Request } from '../fastify.ts'
import { topicOf } from '../names.ts'
import { problemOf } from '../problem.ts'
import type { EventStream } from '../sse.ts'
import { producerOf, queryOf } from './request.ts'
import { ATTACHING, EVENTS, PRODUCER_ID, parameters, TOPIC_ERRORS, WRITING } from './schemas.ts'

const ATTACH = {
  operationId: 'attach',
  summary: 'Hold a session as long as the answer is open, and hear what happens to it',
  tags: ['sessions'],
  querystring: parameters(ATTACHING),
  headers: PRODUCER_ID,
  response: { 200: { description: 'attached, and then notices, as events.', content: EVENTS } },
  errors: [...TOPIC_ERRORS, 'BAD_CURSOR', 'DIVERGED', 'OFFSET_BEYOND_END'],
} as const

const LET_GO = {
  operationId: 'letGo',
  summary: "Let go of the topic's fence, which an exclusive session of the producer has",
  tags: ['sessions'],
  querystring: parameters({ epoch: WRITING.epoch, topicFence: WRITING.topicFence }, ['topicFence']),
  headers: { ...PRODUCER_ID, required: ['producer-id'] },
  response: { 204: { type: 'null', description: 'It does not have it any more.' } },
  errors: TOPIC_ERRORS,
} as const

export function attachmentRoutes(app: App, face: Face): void {
  app.get('/v1/attachment/*', { schema: ATTACH, exposeHeadRoute: false }, (request, reply) =>
    attach(face, request, reply),
  )
  app.delete('/v1/attachment/*', { schema: LET_GO }, async (request, reply) => {
    const { epoch, topicFence: fence } = queryOf(request)
    const caller = face.caller(reply)
    caller.begin(topicOf(request), { create: false, producer: producerOf(request), epoch, fence })
    await caller.leave()
    return reply.code(204).send()
  })
}

async function attach(face: Face, request: Request, reply: Reply): Promise<Reply> {
  const { create = false, epoch, cursor, observe, exclusive, topicFence: fence } = queryOf(request)
  const stream = face.events.of(reply.raw)
  const caller = face.caller(reply, stream)
  const notices = new Notices(stream)
  caller.onNotice = (event, facts) => notices.tell(event, facts)
  caller.onStop = (error) => {
    if (error.retry) notices.goAway(comeBack(face.events.count))
    else notices.end(JSON.stringify(problemOf(error, request.id)))
  }
  const options = { create, epoch, cursor, observe, exclusive, fence, producer: producerOf(request), brief: false }
  const attached = await caller.attach(topicOf(request), options)
  if (face.stopping !== null) throw face.stopping
  reply.hijack()
  stream.open(reply.getHeaders())
  notices.begin(attached)
  return reply
}

/** What is told on an open answer. What happens before it has begun is told behind its first event. */
class Notices {
  private readonly stream: EventStream
  private waiting: (() => void)[] | null = []

  constructor(stream: EventStream) {
    this.stream = stream
  }

  begin(attached: object): void {
    const { waiting } = this
    this.waiting = null
    this.stream.send(eventText(JSON.stringify(attached), { event: 'attached' }))
    for (const tell of waiting ?? []) tell()
  }

  tell(event: NoticeEvent, facts: NoticeFacts): void {
    this.inOrder(() => {
      const text = eventText(JSON.stringify(facts), { event })
      if (event === 'deleted' || event === 'reclaimed') this.stream.end(text)
      else this.stream.send(text)
    })
  }

  /** The broker stops, or opens its store anew. */
  goAway(delay: ComeBack): void {
    const text = retryText(randomDelayMs(delay)) + eventText(JSON.stringify(delay), { event: 'goaway' })
    this.inOrder(() => this.stream.end(text))
  }

  /** It may not stay. */
  end(problem: string): void {
    this.inOrder(() => this.stream.end(eventText(problem, { event: 'problem' })))
  }

  private inOrder(tell: () => void): void {
    if (this.waiting === null) tell()
    else this.waiting.push(tell)
  }
}
