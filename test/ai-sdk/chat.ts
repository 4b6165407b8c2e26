/** The AI SDK's chat without React: the state that `useChat` keeps, in plain properties. Runs in Node and in a page. */

import { AbstractChat, type ChatInit, type ChatState, type ChatStatus, type UIMessage } from 'ai'

class PlainState implements ChatState<UIMessage> {
  error: Error | undefined
  private readonly changed: () => void
  private currentStatus: ChatStatus = 'ready'
  private currentMessages: UIMessage[]

  constructor(messages: UIMessage[], changed: () => void) {
    this.currentMessages = messages
    this.changed = changed
  }

  get status(): ChatStatus {
    return this.currentStatus
  }

  set status(status: ChatStatus) {
    this.currentStatus = status
    this.changed()
  }

  get messages(): UIMessage[] {
    return this.currentMessages
  }

  set messages(messages: UIMessage[]) {
    this.currentMessages = messages
    this.changed()
  }

  pushMessage = (message: UIMessage): void => {
    this.messages = [...this.messages, message]
  }

  popMessage = (): void => {
    this.messages = this.messages.slice(0, -1)
  }

  replaceMessage = (index: number, message: UIMessage): void => {
    this.messages = this.messages.with(index, structuredClone(message))
  }

  snapshot = <T>(thing: T): T => structuredClone(thing)
}

export class PlainChat extends AbstractChat<UIMessage> {
  /** `changed` is called with each change of what is shown. */
  constructor(init: ChatInit<UIMessage>, changed: () => void = () => {}) {
    super({ ...init, state: new PlainState(init.messages ?? [], changed) })
  }

  /** The text of the last message, if it is the assistant's. */
  get answer(): string {
    const last = this.messages.at(-1)
    if (last?.role !== 'assistant') return ''
    return last.parts.map((part) => (part.type === 'text' || part.type === 'reasoning' ? part.text : '')).join('')
  }
}
