/** What the broker says of itself in answer to hello. */

import { DOWN, type DownFrame, LIMITS, PROTOCOL_VERSION } from '../../protocol/index.ts'

export interface Welcome {
  readonly incarnation: string
  readonly server: string
  readonly messageBytes: number
  wallMs(): number
}

export function welcomeFrame({ wallMs, ...facts }: Welcome): DownFrame {
  return [DOWN.welcome, PROTOCOL_VERSION, { ...facts, timeMs: wallMs(), pingMs: LIMITS.pingMs }]
}
