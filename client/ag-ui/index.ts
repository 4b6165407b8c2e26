/** Runs of AG-UI agents that survive reloads, lost connections and lost processes: what `import … from 'litetopic/ag-ui'` gives. */

export { type AgentHandlerOptions, agentHandler } from './handler.ts'
export { type ReadRunOptions, RUN_LOST, RUN_STOPPED, type RunEvent, readRun } from './read.ts'
export { type ResumingFetchOptions, resumingFetch } from './resuming-fetch.ts'
export type { EventSource, ObservableLike } from './source.ts'
export { type AgentFunction, RUN_INTERRUPTED, type StoredRun, storeRun } from './store.ts'
