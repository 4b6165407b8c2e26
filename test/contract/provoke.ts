/** For every error code a few lines of real use that end in it. A code of which there is none here fails a test. */

import { mkdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { withBroker } from '../../broker/cli/remote.ts'
import { startBroker } from '../../broker/index.ts'
import { generateKey, sealedSession } from '../../client/e2e/index.ts'
import { connect, type StandardSchemaV1 } from '../../client/index.ts'
import { type ErrorCode, formatCursor, LIMITS, UP, type UpFrame, writeMessage } from '../../protocol/index.ts'
import { MemoryDisk, openLevelStore, openMemoryStore } from '../../storage/index.ts'
import { accessOf } from '../broker/access.ts'
import { afterwards, checkpoint, message, streamEnd, TestBroker, tempDir, token } from '../broker/brokers.ts'
import { CallerBroker, recordsOf } from '../broker/callers.ts'
import { HeldStore } from '../broker/held-store.ts'
import { begin } from '../broker/large.ts'
import { codeOf, type Peer } from '../broker/peer.ts'
import { Rig } from '../http/webhooks.ts'

/** Resolves with the code that it was refused with. */
export type Provoke = () => Promise<string>

/** Codes that nothing raises in this version, and why they are there. */
export const RESERVED: { readonly [code in ErrorCode]?: string } = {}

async function peerOf(broker: TestBroker, producer: string | null = 'p'): Promise<Peer> {
  const peer = await broker.peer()
  await peer.attach('t', producer === null ? {} : { producer })
  return peer
}

/** A peer that has attached the topic `t` of a new broker as a producer. */
const attached = async (): Promise<Peer> => peerOf(await TestBroker.start())

/** One that asks for a token, with a key that grants nothing. */
async function guarded(): Promise<TestBroker> {
  const access = await accessOf({ nobody: {} })
  const test = await TestBroker.start({ accessFile: access.path })
  test.token = access.keys.nobody
  return test
}

/** The code that the connection is closed with. */
const closing =
  (act: (peer: Peer) => void, options?: { hello?: boolean }): Provoke =>
  async () => {
    const peer = await (await TestBroker.start()).peer(options)
    act(peer)
    return (await peer.closedBy())?.code ?? 'closed without a word'
  }

/** The code that something is refused with on an attached connection. */
const asked =
  (act: (peer: Peer) => Promise<unknown>): Provoke =>
  async () =>
    codeOf(act(await attached()))

const openStream = (peer: Peer, sequence: number, mode: 'create' | 'continue' = 'create') =>
  peer.ask(UP.openStream, 0, 0, sequence, 's', mode)

const PULL = { type: 'pull-wake', pattern: '*', wake_stream: 'wake/pool' }

/** The code that a request is refused with, where the subscription `p` has a wake that a worker has claimed. */
const asSubscriber =
  (ask: (rig: Rig, claimed: { wake: object; token: string }) => Promise<Response>): Provoke =>
  async () => {
    const rig = await Rig.start()
    await rig.pull('p', PULL)
    await rig.append('a')
    const claimed = await (await rig.send('POST', 'p/claim', { worker: 'w' })).json()
    const { token, wake_id, generation } = claimed as { token: string; wake_id: string; generation: number }
    const refused = await ask(rig, { wake: { wake_id, generation }, token })
    return ((await refused.json()) as { code: string }).code
  }

/** The code of what a promise rejects with, or a function throws. */
async function thrown(act: () => unknown): Promise<string> {
  try {
    await act()
    return 'nothing'
  } catch (error) {
    return String((error as { code?: unknown }).code)
  }
}

/** What a killed broker has left, with one wrong bit in its journal. */
async function damaged(): Promise<string> {
  const disk = new MemoryDisk()
  const peer = await peerOf(await TestBroker.start({}, disk))
  await peer.append({ sequence: 0 }, message('one'))
  const left = disk.copy()
  const entry = left.entries.at(-1) as Uint8Array
  left.entries[left.entries.length - 1] = entry.map((byte, i) => (i === entry.length - 1 ? byte ^ 1 : byte))
  return thrown(() => TestBroker.start({}, left))
}

async function unavailable(): Promise<string> {
  const store = await HeldStore.open()
  const peer = await peerOf(await TestBroker.start({ store }))
  store.break()
  return codeOf(peer.append({ sequence: 0 }, message('one')))
}

/** What is no LitetopicError, out of a layer below, is a fault of litetopic. */
async function faulty(): Promise<string> {
  const store = await openMemoryStore(new MemoryDisk())
  const broker = await TestBroker.start({ store })
  const peer = await broker.peer()
  const fault = (): Promise<never> => Promise.reject(new TypeError('a fault'))
  Object.assign(store.table, { get: fault, getMany: fault })
  return codeOf(peer.ask(UP.describe, 'unknown'))
}

async function twoWriters(): Promise<string> {
  const peer = await attached()
  const { fence } = await openStream(peer, 0)
  await peer.attach('t', { producer: 'other' }, 1)
  await peer.ask(UP.openStream, 1, 0, 0, 's', 'continue')
  return codeOf(peer.append({ sequence: 1, fence: fence ?? -1 }, token('s', 'late')))
}

async function ended(): Promise<string> {
  const peer = await attached()
  const { fence } = await openStream(peer, 0)
  await peer.append({ sequence: 1, fence: fence ?? -1 }, streamEnd('done', 's'))
  return codeOf(openStream(peer, 2, 'continue'))
}

async function stopped(): Promise<string> {
  const { broker } = await TestBroker.start()
  const client = connect(broker.url)
  afterwards(() => client.close().catch(() => undefined))
  const session = await client.session('t')
  const stream = await session.openStream('s')
  const aborted = new Promise((resolve) => stream.signal.addEventListener('abort', resolve))
  await session.stop('s')
  await aborted
  return thrown(() => stream.write('late'))
}

async function tooManyProducers(): Promise<string> {
  const peer = await attached()
  for (let i = 0; i <= LIMITS.producersPerTopic; i++) {
    await peer.attach('t', { producer: `p${i}` }, i + 1)
    const code = await codeOf(peer.append({ handle: i + 1, sequence: 0 }, message('one')))
    if (code !== 'ok') return code
  }
  return 'ok'
}

async function clientOf(): Promise<ReturnType<typeof connect>> {
  const { broker } = await TestBroker.start()
  const client = connect(broker.url)
  afterwards(() => client.close().catch(() => undefined))
  return client
}

const refuseAll: StandardSchemaV1<unknown, string> = {
  '~standard': { version: 1, vendor: 'test', validate: () => ({ issues: [{ message: 'no' }] }) },
}

export const PROVOKE: { readonly [code in ErrorCode]?: Provoke } = {
  UNAUTHENTICATED: async () => {
    const peer = await (await guarded()).peer({ hello: false })
    peer.send([UP.hello, 1, {}])
    return (await peer.closedBy())?.code ?? 'closed without a word'
  },
  ACCESS_DENIED: async () => {
    const test = await guarded()
    return codeOf((await test.peer({ token: test.token })).attach('t'))
  },
  ACCESS_UNAVAILABLE: async () => {
    // Nobody listens at that port.
    const jwksUrl = 'http://127.0.0.1:1/jwks.json'
    const issuer = { name: 'x', issuer: 'https://x.example', audience: 'a', algorithm: 'EdDSA', jwksUrl } as const
    const peer = await (await TestBroker.start({ jwt: [issuer] })).peer({ hello: false })
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
    peer.send([UP.hello, 1, { token: `${part({ alg: 'EdDSA' })}.${part({ iss: issuer.issuer })}.AA` }])
    return (await peer.closedBy())?.code ?? 'closed without a word'
  },
  BAD_FRAME: closing((peer) => peer.sendBytes(Buffer.of(0xc1))),
  UNKNOWN_FRAME: closing((peer) => peer.send([60, 1] as unknown as UpFrame)),
  FRAME_TOO_LARGE: closing((peer) => peer.sendBytes(Buffer.alloc(LIMITS.messageBytes + 1))),
  VERSION_MISMATCH: closing((peer) => peer.send([UP.hello, 0, {}]), { hello: false }),
  HELLO_EXPECTED: closing((peer) => peer.send([UP.list, 1, '', {}]), { hello: false }),
  SHUTTING_DOWN: async () => {
    const store = await HeldStore.open()
    const broker = await TestBroker.start({ store })
    const peer = await peerOf(broker)
    // While something is under way, what is new is refused.
    const open = store.holdJournal()
    const kept = peer.append({ sequence: 0 }, message('kept'))
    await peer.ask(UP.list, '', {})
    const closed = broker.broker.close()
    const code = codeOf(peer.ask(UP.list, '', {}))
    const first = await code
    open()
    await Promise.all([kept, closed])
    return first
  },
  LIMIT_EXCEEDED: asked((peer) => peer.append({ sequence: 0 }, message('x'.repeat(LIMITS.appendBytes)))),
  RATE_LIMITED: async () => {
    const peer = await peerOf(await TestBroker.start({ limits: { connection: { recordsPerSecond: 1 } } }))
    await peer.append({ sequence: 0 }, message('one'))
    return codeOf(peer.append({ sequence: 1 }, message('two')))
  },
  BAD_NAME: asked((peer) => peer.attach('a//b', {}, 1)),
  BAD_VALUE: asked((peer) => peer.append({ sequence: 0 }, (out) => writeMessage(out, { tag: 'json', value: '{' }))),
  BAD_REQUEST: asked((peer) => peer.read({ start: true, live: true })),
  BAD_CURSOR: asked((peer) => peer.read({ cursor: 'nothing' })),
  UNKNOWN_HANDLE: asked((peer) => peer.ask(UP.stream, 7, 's')),
  HANDLE_IN_USE: asked((peer) => peer.attach('other', {}, 0)),
  OFFSET_BEYOND_END: asked((peer) => peer.read({ offset: 1 })),
  NOT_FOUND: asked((peer) => peer.ask(UP.describe, 'unknown')),
  GONE: asked(async (peer) => {
    await peer.ask(UP.delete, 't', null)
    await peer.append({ sequence: 0 }, message('late'))
  }),
  RECREATED: asked((peer) => peer.attach('t', { epoch: 1 }, 1)),
  TRIMMED: asked(async (peer) => {
    await peer.append({ sequence: 0 }, message('one'), message('two'))
    await peer.ask(UP.trim, 0, 0, 1, { before: 1 })
    await peer.read({ offset: 0 })
  }),
  DIVERGED: asked(async (peer) => {
    const { epoch } = await peer.ask(UP.describe, 't')
    await peer.read({ cursor: formatCursor({ incarnation: '0123456789ab', epoch, next: 0 }) })
  }),
  CHECKPOINT_UNKNOWN: asked(async (peer) => {
    await peer.append({ sequence: 0 }, checkpoint('one'))
    await peer.read({ checkpoint: 'two' })
  }),
  SEQUENCE_GAP: asked(async (peer) => {
    await peer.append({ sequence: 0 }, message('one'))
    await peer.append({ sequence: 2 }, message('three'))
  }),
  SUBSCRIPTION_NOT_FOUND: asSubscriber((rig) => rig.send('GET', 'none')),
  SUBSCRIPTION_ALREADY_EXISTS: asSubscriber((rig) => rig.put('p', { ...PULL, pattern: 'other' })),
  WEBHOOK_URL_REJECTED: asSubscriber((rig) =>
    rig.put('w', { type: 'webhook', pattern: '*', webhook: { url: 'http://10.0.0.1/' } }),
  ),
  TOKEN_INVALID: asSubscriber((rig, { wake }) => rig.send('POST', 'p/ack', wake, 'x.y')),
  TOKEN_EXPIRED: asSubscriber(async (rig, { wake, token }) => {
    await rig.clock.advance(LIMITS.wakeTokenMs + 1)
    return rig.send('POST', 'p/ack', wake, token)
  }),
  ALREADY_CLAIMED: asSubscriber((rig) => rig.send('POST', 'p/claim', { worker: 'other' })),
  NO_PENDING_WORK: asSubscriber(async (rig) => {
    await rig.put('q', { ...PULL, pattern: 'nothing/*' })
    return rig.send('POST', 'q/claim', { worker: 'w' })
  }),
  INVALID_OFFSET: asSubscriber((rig, { wake, token }) =>
    rig.send('POST', 'p/ack', { ...wake, acks: [{ stream: 'a', offset: '-1' }] }, token),
  ),
  PRODUCER_UNKNOWN: asked((peer) => peer.append({ sequence: 1 }, message('two'))),
  PRODUCER_STALE: asked(async (peer) => {
    await peer.append({ sequence: 0, epoch: 1 }, message('one'))
    await peer.append({ sequence: 0, epoch: 0 }, message('late'))
  }),
  PRODUCER_LIMIT: tooManyProducers,
  FENCED: twoWriters,
  CLOSED: asked(async (peer) => {
    await peer.ask(UP.closeTopic, 0, 0, 0, {})
    await peer.append({ sequence: 1 }, message('late'))
  }),
  STREAM_SEQ_STALE: async () => {
    const caller = await (await CallerBroker.start()).caller('t')
    const append = { producerEpoch: 0, sequence: 0, streamSeq: 'a', ...recordsOf(message('one')) }
    await caller.atomicAppend(append)
    return codeOf(caller.atomicAppend(append))
  },
  CONTENT_TYPE_MISMATCH: async () => {
    const caller = await (await CallerBroker.start()).caller('t')
    const records = recordsOf(message('one'))
    return codeOf(caller.atomicAppend({ producerEpoch: 0, sequence: 0, contentType: 'text/plain', ...records }))
  },
  TOPIC_EXISTS: async () => {
    const broker = await CallerBroker.start()
    await broker.caller('t')
    return codeOf(broker.caller('t', { mustCreate: true }))
  },
  STREAM_UNKNOWN: asked((peer) => openStream(peer, 0, 'continue')),
  STREAM_EXISTS: asked(async (peer) => {
    await openStream(peer, 0)
    await openStream(peer, 1)
  }),
  STREAM_ENDED: ended,
  UPLOAD_UNKNOWN: asked(async (peer) => {
    await begin(peer, { uploadId: 'u' })
    await peer.ask(UP.part, 0, 'other', 0, 0, new Uint8Array(1))
  }),
  STORE_UNAVAILABLE: unavailable,
  STORE_CORRUPT: damaged,
  NOT_OWNER: async () => {
    const store = await openMemoryStore(new MemoryDisk())
    return thrown(() => store.journal.append(7, [new Uint8Array(1)]))
  },
  DATA_DIR_IN_USE: async () => {
    const dataDir = await tempDir()
    await TestBroker.start({ dataDir })
    return thrown(() => startBroker({ dataDir, port: 0 }))
  },
  DATA_DIR_UNUSABLE: async () => {
    const file = join(await tempDir(), 'file')
    await writeFile(file, 'no directory')
    return thrown(() => startBroker({ dataDir: file, port: 0 }))
  },
  DATA_DIR_VERSION: async () => {
    const dataDir = join(await tempDir(), 'data')
    await (await openLevelStore(dataDir, { durability: 'os' })).close()
    await mkdir(dataDir, { recursive: true })
    await writeFile(join(dataDir, 'FORMAT'), '{"format":999}')
    return thrown(() => startBroker({ dataDir, port: 0 }))
  },
  PORT_IN_USE: async () => {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    afterwards(async () => server.close())
    const { port } = server.address() as { port: number }
    return thrown(() => startBroker({ dataDir: null, port }))
  },
  CONNECTION_CLOSED: async () => {
    const client = await clientOf()
    const session = await client.session('t')
    await client.close()
    return thrown(() => session.append('late'))
  },
  BROKER_UNREACHABLE: async () => {
    const { broker } = await TestBroker.start()
    await broker.close()
    return thrown(() => withBroker({ url: broker.url }, (client) => client.list()))
  },
  BUFFER_FULL: async () => {
    const session = await (await clientOf()).session('t')
    const large = 'x'.repeat(200_000)
    const appends = Array.from({ length: 40 }, () => thrown(() => session.append(large)))
    return (await Promise.all(appends)).find((code) => code !== 'nothing') ?? 'nothing'
  },
  SCHEMA_INVALID: async () => {
    const session = await (await clientOf()).session('t', { schema: refuseAll })
    return thrown(() => session.append('one'))
  },
  STREAM_STOPPED: stopped,
  CALL_FAILED: async () => {
    const session = await (await clientOf()).session('t')
    const call = () => session.once('call', () => Promise.reject(new Error('no')))
    await thrown(call)
    return thrown(call)
  },
  NOT_AUTHENTIC: async () => {
    const client = await clientOf()
    await (await client.session('t')).append('plain')
    const session = await sealedSession(client, 't', { key: generateKey() })
    return thrown(() => session.records().next())
  },
  OUTCOME_UNKNOWN: async () => {
    const { broker } = await TestBroker.start({ streamGraceMs: 0 })
    const [vanishing, other] = [connect(broker.url), connect(broker.url)]
    afterwards(() => Promise.all([vanishing.close(), other.close()]).catch(() => undefined))
    await (await vanishing.session('t')).openStream('once/call')
    await vanishing.close()
    return thrown(async () => (await other.session('t')).once('call', () => undefined))
  },
  INTERNAL: faulty,
}
