/** litetopic for the OpenAI Agents SDK: what `import … from 'litetopic/openai-agents'` gives. */

export { AgentSession, type AgentSessionOptions } from './agent-session.ts'
export type { ModelEvent, StoredEvent, StoredItem } from './entries.ts'
export { type OnceToolOptions, onceTool, type UnknownCall } from './once-tool.ts'
export { type ReadRunOptions, type RunEntry, readRun } from './read-run.ts'
export type { AnyAgent, RunInput, StoredRunOptions } from './running.ts'
export { type StoredRun, storedRun } from './stored-run.ts'
