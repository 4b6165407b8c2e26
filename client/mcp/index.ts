/** MCP: `import … from 'litetopic/mcp'`. */

export { type EventStoreOptions, LitetopicEventStore } from './event-store.ts'
