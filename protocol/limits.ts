/**
 * Every bound that a user or another program can meet, with its unit in its name.
 * Those that a configuration may change are defaults; the rest are part of the protocol or of the storage format.
 */

const KiB = 1024
const MiB = 1024 * 1024

export const LIMITS = {
  /** A topic name, a record id, a stream id, a part, a context or checkpoint name, in UTF-8. */
  nameBytes: 255,
  /** What a topic says that its data is: a media type, with its parameters. */
  contentTypeBytes: 255,
  /** A Stream-Seq: the text by which the writers of a topic order themselves. */
  streamSeqBytes: 255,
  /** One WebSocket message, which holds one or more frames. Checked before anything is decoded. */
  messageBytes: 4 * MiB,
  /** The least that an operator may set in its place: an append, or a part of a large message, and its frame. */
  messageBytesLeast: 512 * KiB,
  /** The records of one append, encoded. Larger messages travel in parts. */
  appendBytes: 256 * KiB,
  /** Content of one part of a large message; all but the last have exactly this. */
  partBytes: 256 * KiB,
  /** Content of one large message; a broker may be configured otherwise. */
  largeMessageBytes: 256 * MiB,
  /** Uploads under way, of one topic and in all. */
  uploadsPerTopic: 16,
  uploadsOpen: 4096,
  /** An upload that got no part for this long is deleted; after a start all get the full time. */
  uploadIdleMs: 3_600_000,
  /**
   * Parts in memory at once: of all uploads, granted or not yet stored; and of all readers, being read or not yet taken.
   * Each is there two or three times while it passes: see ARCHITECTURE.md, Decisions.
   */
  partMemoryBytes: 3 * MiB,
  /** Bytes of parts that pass, in both directions, between two collections of what they leave behind. */
  partGarbageBytes: 2 * MiB,
  /** Parts of one connection that are granted and not stored, and fetches of one connection that are unanswered. */
  partsPerConnection: 6,
  /** How long a grant may stay unused, or an answer untaken, while others wait for that memory. */
  partGrantMs: 10_000,
  /** The same for one who has let several grants go by: each halves the time, down to this, and a part that comes restores it. */
  partGrantLeastMs: 100,
  /** Records in one append. */
  appendRecords: 16_384,
  /** Nesting of a msgpack value. */
  frameDepth: 8,
  /** Elements of one array or map in a frame. */
  frameElements: 16_384,
  /** A string in a control frame. */
  stringBytes: 64 * KiB,
  /** A token for access. */
  accessTokenBytes: 16 * KiB,
  /** Prefixes that one principal has rights on. */
  grantsPerPrincipal: 64,
  /** API keys of a broker. */
  accessKeys: 10_000,
  /** For how long a token is issued at most. */
  accessTokenMaxMs: 30 * 86_400_000,
  /** Wrong tokens from one address before it is refused for a while, that while, and addresses that are remembered. */
  accessFailures: 20,
  accessFailuresMs: 60_000,
  accessAddresses: 10_000,
  /** The audit log: of one file, files that were set aside and are kept, and what waits to be written. */
  auditBytes: 16 * MiB,
  auditFiles: 8,
  auditWaitingBytes: 4 * MiB,
  /** Handles per connection: attachments of one client. */
  handlesPerConnection: 1_048_576,
  /** Subscriptions per connection. */
  subscriptionsPerConnection: 1_048_576,
  /** Requests of one connection that wait for storage; beyond it the socket is paused. */
  requestsInFlight: 16_384,
  /** Appends of one producer and topic that may be unacknowledged; the broker remembers the offsets of as many. */
  appendsInFlight: 8,
  /** Producers remembered per topic. */
  producersPerTopic: 64,
  /** A producer used within this time is not forgotten. */
  producerKeepMs: 3_600_000,
  /** Token streams of one topic that are open at once. */
  openStreamsPerTopic: 64,
  /** Credit a subscription starts with when it names none. */
  creditBytes: MiB,
  /** The largest credit a subscription may hold. */
  creditMaxBytes: 64 * MiB,
  /** Frames written to a socket that it has not taken yet; beyond it subscriptions read from storage instead. */
  socketBufferBytes: 8 * MiB,
  /** The same of all sockets together; beyond it those count as full that hold more than `unsentShareBytes`. */
  unsentBytes: 64 * MiB,
  unsentShareBytes: 32 * KiB,
  /** Records and state of one group commit, in one journal entry. */
  journalEntryBytes: 512 * KiB,
  /** Topics created in one group commit. */
  createsPerCommit: 4096,
  /** Uncommitted bytes beyond which publishers are paused. */
  uncommittedBytes: 8 * MiB,
  /** Of the journal's budget: publishers are paused beyond this share of it. */
  journalPauseShare: 0.9,
  /** Journal not yet flushed into the table: from half of it on the flusher works. */
  journalBytes: 64 * MiB,
  /** The same, in operations. */
  journalOperations: 1_500_000,
  /** A tail at least this large is flushed as a chunk without waiting. */
  chunkBytes: 64 * KiB,
  /** A tail no larger than this is stored inside the topic's head. */
  inlineTailBytes: 384,
  /** Topics flushed in one table write. */
  flushTopics: 256,
  /** Topics brought into memory by one read. */
  loadTopics: 256,
  /** Table bytes in one write of the flusher. */
  flushBytes: MiB,
  /** Copying a store: what is read and written at once; and how long a running broker rests before the next piece. */
  copyPieceBytes: MiB,
  copyPauseMs: 5,
  /** Checking a store: damages that the report lists; the rest are only counted. */
  damagesListed: 10_000,
  /** Earlier histories of which a topic remembers how far it shares them, the newest ones. */
  branchesPerTopic: 8,
  /** Forks one of another: each knows of all that it descends from. */
  forkDepth: 256,
  /** What one read of a topic's log returns at most. */
  readBytes: 256 * KiB,
  /** Text, context and state sent inline in an answer to `resume`; beyond it they are read as streams. */
  resumeInlineBytes: MiB,
  /** Topics, checkpoints or context entries on one page. */
  pageItems: 1_000,
  /** How long a topic outlives its last attachment. */
  lingerMs: 3_600_000,
  /**
   * Of a topic with a time to live: how far ahead it is stored that it was read, a 16th of that time, but no less and no more than these.
   * After a crash it may live so much longer.
   */
  readsStoredMinMs: 1_000,
  readsStoredMaxMs: 3_600_000,
  /** How long open readers hold a topic after its last append. */
  maxReaderHoldMs: 86_400_000,
  /** Counters of first segments of names, or of principals, that are kept in memory though nothing of theirs is to be flushed. */
  usageCounters: 10_000,
  /** A resident topic with no attachment and no operation for this long leaves memory. */
  residencyIdleMs: 10_000,
  /** Idle time after which the journal is flushed, truncated and the store compacted. */
  quietMs: 10_000,
  /** After a writer's connection dropped, how long its streams wait before they are `lost`. */
  streamGraceMs: 10_000,
  /** How long a stream is live behind each append of a writer that has no connection, unless it says otherwise; and the bounds of that. */
  leaseMs: 60_000,
  leaseMinMs: 1_000,
  leaseMaxMs: 3_600_000,
  /** After a failed write, between two looks whether the store can be written again, growing from the least to the most. */
  storeRetryMinMs: 250,
  storeRetryMaxMs: 10_000,
  /** A store that works for this long after a failed write is well again: the next failure starts from the least wait. */
  storeHealthyMs: 60_000,
  /** Disk space that must be free for it, beside what opening the store writes. */
  storeProbeBytes: 4 * MiB,
  /** A WebSocket ping to a silent client, and as long again for its answer. */
  pingMs: 30_000,
  /** Of silence on an open HTTP response before it is sent something that means nothing. */
  heartbeatMs: 15_000,
  /** What an event stream over HTTP holds that its socket has not taken; beyond it, it is read for from storage. */
  eventBufferBytes: 256 * KiB,
  /** How soon a reader of an event stream whose connection broke is to come back. */
  eventRetryMs: 1_000,
  /** An answer of which its reader takes nothing for so long is cut off, be it an event stream or not. */
  eventStuckMs: 60_000,
  /** A long poll is answered after this, data or not. */
  longPollMs: 20_000,
  /** A Durable Streams stream as an event stream ends after this, for its reader to come back. */
  durableEventsMs: 60_000,
  /** Between opening a connection and its hello. */
  helloMs: 10_000,
  /** HTTP: the headers of a request, and its request line; how long they may take to come. */
  httpHeaderBytes: 16 * KiB,
  httpHeaderMs: 30_000,
  /** HTTP: the body of a request that is taken into memory; content of large messages is not. */
  httpBodyBytes: MiB,
  /** What one response of a read has at most, but for its last record. */
  httpPageBytes: 512 * KiB,
  /** HTTP: a catch-up read by the Durable Streams protocol that has about so many bytes before it at most is answered with all of them. */
  httpReadBytes: 16 * MiB,
  /** HTTP: the same of all requests together, until their responses have ended; beyond it they are refused with RATE_LIMITED. */
  httpBodiesBytes: 64 * MiB,
  /** HTTP: how long a body may not move before it is given up. */
  httpBodyIdleMs: 30_000,
  /** HTTP: how long a body that is taken into memory may take to be whole. */
  httpBodyMs: 120_000,
  /** HTTP: path and query of a request. */
  httpUrlBytes: 8 * KiB,
  /** HTTP: what an ordinary append or read by the Durable Streams protocol has at most, to be served where it comes in. */
  httpAtOnceBytes: 16 * KiB,
  /** HTTP: JSON answers of fewer bytes are not compressed. */
  httpCompressBytes: 2 * KiB,
  /** HTTP: how long a connection is kept that has no request under way. */
  httpKeepAliveMs: 75_000,
  /** A broker that stops: how long what is under way may take to be answered, and then sockets to be closed. */
  stopMs: 5_000,
  stopSocketMs: 1_000,
  /** Clients of one that stops come back between the least delay and one that grows with their number, up to the most. */
  goawayMinMs: 100,
  goawayMsPerConnection: 2,
  goawayMaxMs: 60_000,
  /** Durable Streams subscriptions of a broker; topics linked to one of them, and to all of them together. */
  wakers: 1_000,
  wakerTopics: 10_000,
  wakerLinks: 100_000,
  /** Topics that one wake tells of; those beyond it are told of in the next one. */
  wakeTopics: 1_000,
  /** A worker's lease on a wake: by default, and what may be asked for. */
  wakeLeaseMs: 30_000,
  wakeLeaseMinMs: 1_000,
  wakeLeaseMaxMs: 600_000,
  /** How long the token of a wake is valid, however often its lease is renewed. */
  wakeTokenMs: 86_400_000,
  /** Address of a webhook; description of a subscription, and name of a worker. */
  webhookUrlBytes: 2_048,
  wakerTextBytes: 1_024,
  /** Webhooks called at once; a call in all; and what of its answer is read. */
  webhooksInFlight: 64,
  webhookMs: 30_000,
  webhookAnswerBytes: 64 * KiB,
  /** Before a wake that could not be told is tried again, growing from the least to the most, 20 % more or less. */
  wakeRetryMinMs: 1_000,
  wakeRetryMaxMs: 60_000,
  /** Client: bytes written and not acknowledged, per session; beyond it `write` returns false. */
  sessionBufferBytes: 256 * KiB,
  /** Client: the same, per connection. */
  connectionBufferBytes: 2 * MiB,
  /** Client: of that, sent; beyond it the tokens of a stream wait until those before them are acknowledged, and go together. */
  connectionSentBytes: 256 * KiB,
  /** Client: the hard bound per session; beyond it a write is refused with `BUFFER_FULL`. */
  sessionBufferMaxBytes: 4 * MiB,
  /** Client: what is packed into one message before it is sent; and what a socket may hold before packing waits. */
  clientMessageBytes: 256 * KiB,
  clientSocketBytes: MiB,
  /** Client: one text token; longer text becomes several. */
  clientTokenBytes: 64 * KiB,
  /** Client: delivered bytes that a reader decodes at once. */
  clientDecodeBytes: 64 * KiB,
  /** Client: parts that a reader of a large message has asked for and not taken. */
  clientFetches: 3,
  /**
   * Client: for opening a connection, and again for the answer to its hello, it waits `helloMs` at first and twice as long with each
   * attempt that fails, up to this: a broker that many come back to at once may take longer.
   */
  helloMaxMs: 60_000,
  /** Client: between two attempts to connect, growing from the least to the most. */
  reconnectMinMs: 100,
  reconnectMaxMs: 10_000,
  /** Client: before an append that the broker refused for the time being is sent again. */
  clientRetryMs: 250,
  /** Who was refused for a rate and does not come back loses its turn so long after it, and a fifth of what it was to wait. */
  rateTurnMs: 1_000,
  /** Client: the longest that it waits because a broker says so in RATE_LIMITED. */
  retryAfterMaxMs: 600_000,
  /** Client: how long closing waits for what has been written to be acknowledged. */
  closeFlushMs: 5_000,
} as const

export type Limits = typeof LIMITS
