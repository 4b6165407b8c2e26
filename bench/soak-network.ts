/** A network that can fail: the connections of one client, which can be cut without a word. */

import { type Broker, connect } from '../client/index.ts'
import type { Socket, SocketEvents } from '../client/socket.ts'
import { openSocket } from '../client/websocket.ts'

export class Client {
  readonly broker: Broker
  private socket: Socket | null = null
  private isGone = false

  constructor(url: string) {
    const webSocket = (address: string, events: SocketEvents): Socket => {
      this.socket = this.isGone ? deadSocket(events) : openSocket(address, events)
      return this.socket
    }
    this.broker = connect(url, { webSocket })
  }

  /** Is it leaving, or vanished? What fails then fails because of that. */
  get gone(): boolean {
    return this.isGone
  }

  /** Cuts the connection. The client comes back by itself. */
  drop(): void {
    this.socket?.terminate()
  }

  /** Closes as a client should. */
  async leave(): Promise<void> {
    const closed = this.broker.close()
    this.isGone = true
    await closed
  }

  /** Cuts the connection and does not come back, as if its process had been killed. */
  async vanish(): Promise<void> {
    this.isGone = true
    this.drop()
    // What was under way is in doubt, as it is meant to be.
    await this.broker.close().catch(() => undefined)
  }
}

/** To where nothing answers. */
function deadSocket(events: SocketEvents): Socket {
  setTimeout(() => events.closed('this client has vanished'))
  const nothing = (): void => undefined
  return { send: nothing, bufferedBytes: 0, close: nothing, terminate: nothing }
}
