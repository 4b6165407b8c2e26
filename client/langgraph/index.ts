/** litetopic for LangGraph.js: `import … from 'litetopic/langgraph'`. See README.md here. */

export { type JoinRunsOptions, joinRuns } from './join-runs.ts'
export { type OnceToolOptions, onceTool } from './once-tool.ts'
export { type ReadRunOptions, type RunEnd, readRun, type StoredEvent } from './read-run.ts'
export type { RunEvent } from './run-events.ts'
export { LitetopicSaver, type LitetopicSaverOptions } from './saver.ts'
export { type RunStart, streamRun } from './stream-run.ts'
