/** Keeps from clients that their connections are lost, so that all of them can hear of it, and come back, at the same moment. */

import type { Socket, SocketEvents } from '../client/socket.ts'
import { openSocket } from '../client/websocket.ts'

export class Gate {
  private isOpen = true
  /** Tells one client each that its connection is lost. */
  private held: (() => void)[] = []
  private wanted = Number.POSITIVE_INFINITY
  private reached: () => void = () => undefined

  /** For `connect`. */
  readonly webSocket = (url: string, events: SocketEvents): Socket =>
    openSocket(url, {
      opened: () => events.opened(),
      message: (bytes) => events.message(bytes),
      closed: (reason) => {
        if (this.isOpen) return events.closed(reason)
        this.held.push(() => events.closed(reason))
        if (this.held.length >= this.wanted) this.reached()
      },
    })

  close(): void {
    this.isOpen = false
  }

  open(): void {
    this.isOpen = true
    for (const tell of this.held.splice(0)) tell()
  }

  /** Resolves when so many have lost their connection. */
  whenLost(clients: number): Promise<void> {
    return new Promise((resolve) => {
      this.wanted = clients
      this.reached = resolve
      if (this.held.length >= clients) resolve()
    })
  }
}
