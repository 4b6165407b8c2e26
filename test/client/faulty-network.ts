/** Connections that can be cut, or made to lose what comes, from one moment to the next. */

import type { Socket, SocketEvents, SocketFactory } from '../../client/index.ts'
import { open } from './transport.ts'

interface Line {
  readonly socket: Socket
  over: boolean
  readonly closed: (reason: string) => void
}

export class FaultyNetwork {
  /** Nothing that the broker sends arrives. */
  deaf = false
  /** Nothing can be opened. */
  down = false
  /** Messages from the broker so far. */
  arrived = 0
  /** Called before each message from the broker arrives. */
  onArrival: () => void = () => {}
  private lines: Line[] = []

  readonly open: SocketFactory = (url, events, token) => {
    if (this.down) {
      setImmediate(() => events.closed('the network is down'))
      return { send: () => {}, bufferedBytes: 0, close: () => {}, terminate: () => {} }
    }
    const told: SocketEvents = {
      opened: () => line.over || events.opened(),
      message: (bytes) => {
        if (line.over) return
        this.onArrival()
        if (this.deaf || line.over) return
        this.arrived++
        events.message(bytes)
      },
      closed: (reason) => line.closed(reason),
    }
    const line: Line = {
      over: false,
      closed: (reason) => {
        if (line.over) return
        line.over = true
        events.closed(reason)
      },
      socket: open(url, told, token),
    }
    this.lines.push(line)
    return line.socket
  }

  /** Cuts every connection, at once for both sides. */
  cut(): void {
    for (const line of this.lines.splice(0)) {
      line.socket.terminate()
      line.closed('the line was cut')
    }
  }
}
