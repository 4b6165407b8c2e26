/** What of the demo is of use elsewhere: reading recorded model streams as tokens. */

export type { Provider } from './events.ts'
export { type Framing, type Recording, readRecording } from './providers.ts'
export { cut, type Token } from './tokens.ts'
