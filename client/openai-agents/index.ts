/** litetopic for the OpenAI Agents SDK: what `import … from 'litetopic/openai-agents'` gives. */

export { AgentSession, type AgentSessionOptions } from './agent-session.ts'
