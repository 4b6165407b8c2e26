/** Counts the messages and bytes of a client's connection, where the client opens its WebSocket. */

import type { Socket, SocketEvents } from '../client/socket.ts'
import { openSocket } from '../client/websocket.ts'

export class Traffic {
  sentMessages = 0
  sentBytes = 0
  receivedMessages = 0
  receivedBytes = 0

  /** For `connect`. */
  readonly webSocket = (url: string, events: SocketEvents): Socket => {
    const message = (bytes: Uint8Array): void => {
      this.receivedMessages++
      this.receivedBytes += bytes.length
      events.message(bytes)
    }
    const socket = openSocket(url, {
      ...events,
      opened: () => events.opened(),
      closed: (why) => events.closed(why),
      message,
    })
    return {
      send: (bytes) => {
        this.sentMessages++
        this.sentBytes += bytes.length
        socket.send(bytes)
      },
      get bufferedBytes() {
        return socket.bufferedBytes
      },
      close: () => socket.close(),
      terminate: () => socket.terminate(),
    }
  }

  /** From now on. */
  reset(): void {
    this.sentMessages = this.sentBytes = this.receivedMessages = this.receivedBytes = 0
  }
}
