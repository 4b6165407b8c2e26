/** The client library: what `import … from 'litetopic'` gives. */

export {
  type ErrorCode,
  type ErrorDetails,
  isLitetopicError,
  LitetopicError,
  type PolicyInfo,
  type ResumeOutcome,
  type StreamEnd,
  type StreamInfo,
  type StreamState,
  type TopicInfo,
} from '../protocol/index.ts'
export type { AppendOptions } from './append-large.ts'
export { type Clock, systemClock } from './clock.ts'
export {
  type Broker,
  type ConnectOptions,
  connect,
  type IssuedToken,
  type ListOptions,
  type SessionOptions,
  type TokenRequest,
} from './connect.ts'
export type { AsOf, Context, ContextChange, ContextPages } from './context.ts'
export type { ForkOptions, ForkPoint } from './fork.ts'
export type { GenerateFunction, StreamResult } from './generate.ts'
export type { Fetch } from './http-socket.ts'
export { CALL_PARTS, CALL_PREFIX, type OnceFunction, type OnceOptions } from './once.ts'
export { type PipeSource, pipe } from './pipe.ts'
export type { Reader, ReadFrom, ReadOptions } from './reader.ts'
export type { ConnectionState, ReconnectOptions } from './reconnect.ts'
export type {
  CheckpointRecord,
  ContextRecord,
  LargeMessageRecord,
  LargeProgress,
  LargeReadOptions,
  LargeStreamOptions,
  LargeValue,
  MessageRecord,
  SessionRecord,
  StreamRecord,
  TokenRecord,
} from './records.ts'
export type { Checkpoint, Resumed, ResumedStream, ResumeFrom } from './resume.ts'
export type { StandardSchemaV1 } from './schema.ts'
export type { CheckpointOptions, Session } from './session.ts'
export type { Socket, SocketEvents, SocketFactory } from './socket.ts'
export type { BlobLike, ByteSource } from './source.ts'
export type { Stored, StreamWriter, WriteOptions } from './stream-writer.ts'
export type { AppendProgress } from './upload.ts'
export type { Json, Value } from './values.ts'
