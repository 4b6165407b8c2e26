/** Holds clients back from connecting, so that all of them can come at the same moment. */

import type { Socket, SocketEvents } from '../client/socket.ts'
import { openSocket } from '../client/websocket.ts'

export class Gate {
  private isOpen = true
  private readonly waiting = new Set<() => void>()
  private wanted = Number.POSITIVE_INFINITY
  private reached: () => void = () => undefined

  /** For `connect`. */
  readonly webSocket = (url: string, events: SocketEvents): Socket => {
    if (this.isOpen) return openSocket(url, events)
    let socket: Socket | null = null
    const pass = (): void => {
      socket = openSocket(url, events)
    }
    const giveUp = (): void => {
      if (this.waiting.delete(pass)) events.closed('given up while it was held back')
    }
    this.waiting.add(pass)
    if (this.waiting.size >= this.wanted) this.reached()
    return {
      send: (bytes) => socket?.send(bytes),
      get bufferedBytes() {
        return socket?.bufferedBytes ?? 0
      },
      close: () => (socket === null ? giveUp() : socket.close()),
      terminate: () => (socket === null ? giveUp() : socket.terminate()),
    }
  }

  close(): void {
    this.isOpen = false
  }

  open(): void {
    this.isOpen = true
    for (const pass of this.waiting) pass()
    this.waiting.clear()
  }

  /** Resolves when so many are held back at once. */
  whenWaiting(clients: number): Promise<void> {
    return new Promise((resolve) => {
      this.wanted = clients
      this.reached = resolve
      if (this.waiting.size >= clients) resolve()
    })
  }
}
