/** litetopic for the AI SDK: what `import … from 'litetopic/ai-sdk'` gives. */

export { CHUNK_PART, writeChunk } from './chunks.ts'
export { currentStream, stopAnswer } from './current.ts'
export type { Fetch } from './follow.ts'
export {
  type FinishedMessage,
  type GenerateMessageOptions,
  generateMessage,
  type MakeMessage,
  writeChunks,
} from './generate.ts'
export { type ChunkEvent, type ReadChunksOptions, readChunkEvents, readChunks } from './read.ts'
export { type ResponseOptions, toResponse } from './response.ts'
export { type ChatRequest, type ChatRoute, type ChatRouteOptions, chatRoute } from './route.ts'
export { type OnceToolsOptions, onceTools, type ToolCall } from './tools.ts'
export { type ChatTransportOptions, chatTransport, type StoppableTransport } from './transport.ts'
