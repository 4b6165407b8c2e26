/** A WebSocket as a connection of the broker sees it, whichever transport it came from. */

import type { Identity } from '../access/identity.ts'
import type { SharedMessage } from '../client.ts'

/** What is needed of a WebSocket, which a transport accepts; those of `ws` have it. */
export interface Socket {
  readonly bufferedAmount: number
  /** Where it comes from; by default it is of this process. */
  readonly address?: string
  /** Who it is, where that is known before its hello. */
  readonly identity?: Identity
  on(event: 'message', listener: (data: Buffer, isBinary: boolean) => void): unknown
  on(event: 'pong' | 'close' | 'error', listener: () => void): unknown
  send(message: Uint8Array, done: () => void): void
  /** Sends what other sockets are sent, too. */
  share(message: SharedMessage, done: () => void): void
  ping(): void
  pause(): void
  resume(): void
  close(code: number): void
  terminate(): void
}
