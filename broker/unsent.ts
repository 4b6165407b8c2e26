/** What the sockets of all connections together have not taken yet, however they came: the bound is of all of them. */

import { LIMITS } from '../protocol/index.ts'

export class Unsent {
  bytes = 0

  /** Is it more than it should be? Then each connection may hold only little. */
  get congested(): boolean {
    return this.bytes > LIMITS.unsentBytes
  }

  /** A connection holds so many bytes more, or fewer. */
  held(bytes: number): void {
    this.bytes += bytes
  }
}
