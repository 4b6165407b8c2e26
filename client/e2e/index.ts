/** End-to-end encryption: what `import … from 'litetopic/e2e'` gives. */

export type { SealedContext } from './context.ts'
export { generateKey, type SealKey } from './seal.ts'
export { type SealedOptions, type SealedSession, sealedSession } from './session.ts'
