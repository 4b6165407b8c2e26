/** Enough of React, and of the AI SDK's hook, for the guide's component to run in a page. */

import type { ChatInit, UIMessage } from 'ai'
import { PlainChat } from './chat.ts'

interface Node {
  append(...children: unknown[]): void
  replaceChildren(...children: unknown[]): void
  addEventListener(event: string, listener: unknown): void
}

interface Page {
  readonly document: { createElement(tag: string): Node; readonly body: Node }
  h: typeof h
}

const page = globalThis as unknown as Page
let render = (): void => {}
let chat: PlainChat | undefined

export function h(tag: string, props: Readonly<Record<string, unknown>> | null, ...children: unknown[]): Node {
  const element = page.document.createElement(tag)
  if (props?.onClick !== undefined) element.addEventListener('click', props.onClick)
  element.append(...children.flat(3))
  return element
}
page.h = h

/** Of a page with one chat. */
export function useChat({ resume, ...init }: ChatInit<UIMessage> & { resume?: boolean }): Partial<PlainChat> {
  if (chat === undefined) {
    chat = new PlainChat(init, () => render())
    if (resume) void chat.resumeStream()
  }
  const { messages, status, sendMessage } = chat
  return { messages, status, sendMessage }
}

/** Shows the component, again with each change. */
export function mount<P>(component: (props: P) => Node, props: P): void {
  render = () => page.document.body.replaceChildren(component(props))
  render()
}
