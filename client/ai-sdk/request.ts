/** What a chat in a browser asks of its route, checked: it may come from anybody. */

import type { UIMessage } from 'ai'
import { LitetopicError } from '../index.ts'
import { newKey } from './current.ts'

/** What `useChat` sends. Of the messages no more is known than that they are objects with an id. */
export interface Asked<M extends UIMessage = UIMessage> {
  readonly chatId: string
  readonly messages: M[]
  readonly trigger: 'submit-message' | 'regenerate-message'
  readonly messageId: string | undefined
  /** All that was sent. */
  readonly body: Readonly<Record<string, unknown>>
  /** Names the answer: who sends again with the same one gets the same answer. */
  readonly streamKey: string
}

/** Of a conversation, with the files in it. */
const BODY_MAX_BYTES = 32 * 1024 * 1024

/** Rejects with BAD_REQUEST, and LIMIT_EXCEEDED for more than 32 MiB. */
export async function readAsked<M extends UIMessage>(request: Request): Promise<Asked<M>> {
  const body = parsed(await readText(request))
  const { id, messages, trigger = 'submit-message', messageId, streamKey = newKey() } = body
  if (typeof id !== 'string' || id === '') throw bad('id must be that of a chat')
  if (!Array.isArray(messages) || !messages.every(isMessage)) throw bad('messages must be a list of messages')
  if (trigger !== 'submit-message' && trigger !== 'regenerate-message') throw bad('trigger is none of those known')
  if (messageId !== undefined && typeof messageId !== 'string') throw bad('messageId must be text')
  if (typeof streamKey !== 'string') throw bad('streamKey must be text')
  return { chatId: id, messages: messages as M[], trigger, messageId, body, streamKey }
}

/** The chat of `…/<id>/stream`. Throws BAD_REQUEST. */
export function chatIdOf(request: Request): string {
  const [, id] = /\/([^/]+)\/stream\/?$/.exec(new URL(request.url).pathname) ?? []
  try {
    if (id !== undefined) return decodeURIComponent(id)
  } catch {
    // Not a name of anything.
  }
  throw bad('the address must end in the id of a chat and /stream')
}

function isMessage(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'id' in value && typeof value.id === 'string'
}

async function readText(request: Request): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  let bytes = 0
  const reader = request.body?.getReader()
  for (;;) {
    const { done, value } = (await reader?.read()) ?? { done: true }
    if (done) return text + decoder.decode()
    bytes += value.length
    if (bytes > BODY_MAX_BYTES) {
      await reader?.cancel()
      throw new LitetopicError('LIMIT_EXCEEDED', `a request of more than ${BODY_MAX_BYTES} bytes`)
    }
    text += decoder.decode(value, { stream: true })
  }
}

function parsed(text: string): Record<string, unknown> {
  try {
    const body: unknown = JSON.parse(text)
    if (typeof body === 'object' && body !== null && !Array.isArray(body)) return body as Record<string, unknown>
  } catch {
    // Said below.
  }
  throw bad('the body must be a JSON object')
}

function bad(message: string): LitetopicError {
  return new LitetopicError('BAD_REQUEST', message)
}
