/** What is sent, sent again, numbered anew or given back: the outbox against a model of the broker. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Account, type Operation, type OperationOwner } from '../../client/operation.ts'
import { Outbox } from '../../client/outbox.ts'
import { type ErrorCode, LIMITS, LitetopicError } from '../../protocol/index.ts'
import { type Answer, ModelBroker, type SentOperation } from './model-broker.ts'

/** An owner that writes down what it is told. */
class Told implements OperationOwner {
  readonly content: string
  outcome: string | null = null
  seals = 0

  constructor(content: string) {
    this.content = content
  }

  sealed(): void {
    this.seals++
  }

  acknowledged(_: Operation, base: number): void {
    expect(this.outcome).toBeNull()
    this.outcome = `at ${base}`
  }

  refused(_: Operation, error: LitetopicError): void {
    expect(this.outcome).toBeNull()
    this.outcome = error.code
  }
}

/** An outbox whose operations are single texts. */
class Bench {
  readonly account: Account
  readonly outbox: Outbox
  readonly told: Told[] = []

  constructor(account = new Account()) {
    this.account = account
    this.outbox = new Outbox(account)
  }

  add(content: string, tokens = false): Told {
    const owner = new Told(content)
    const operation = this.account.take(owner)
    operation.records.text(content)
    operation.count = 1
    this.told.push(owner)
    this.outbox.add(operation, tokens)
    return owner
  }

  /** Everything that may be sent now. */
  send(): SentOperation[] {
    const sent: SentOperation[] = []
    for (let operation = this.outbox.next(); operation !== null; operation = this.outbox.next()) {
      const content = new TextDecoder().decode(operation.records.view())
      sent.push({ producerEpoch: this.outbox.producerEpoch, sequence: operation.sequence, content })
    }
    return sent
  }

  /** True if the outbox asks to be released later. */
  answer({ producerEpoch, sequence }: SentOperation, answer: Answer): boolean {
    if (answer.kind === 'refuse') return this.outbox.refused(producerEpoch, sequence, answer.error)
    this.outbox.acknowledged(producerEpoch, sequence, answer.base)
    return false
  }

  refuse(sent: SentOperation, code: ErrorCode): boolean {
    return this.answer(sent, { kind: 'refuse', error: new LitetopicError(code, code) })
  }

  ack(sent: SentOperation, base: number): void {
    this.answer(sent, { kind: 'ack', base })
  }
}

function filled(count: number): Bench {
  const bench = new Bench()
  for (let i = 0; i < count; i++) bench.add(`m${i}`)
  return bench
}

const numbers = (sent: readonly SentOperation[]): string[] =>
  sent.map(({ producerEpoch, sequence, content }) => `${producerEpoch}:${sequence} ${content}`)

describe('sending', () => {
  it('numbers operations from 0 in order and sends each once', () => {
    const bench = filled(3)
    expect(numbers(bench.send())).toEqual(['0:0 m0', '0:1 m1', '0:2 m2'])
    expect(bench.send()).toEqual([])
    expect(bench.told.map(({ seals }) => seals)).toEqual([1, 1, 1])
  })

  it('has at most appendsInFlight unanswered, counted from the oldest', () => {
    const bench = filled(20)
    const sent = bench.send()
    expect(sent).toHaveLength(LIMITS.appendsInFlight)
    bench.ack(sent[1] as SentOperation, 1)
    expect(bench.send()).toEqual([])
    bench.ack(sent[0] as SentOperation, 0)
    expect(numbers(bench.send())).toEqual(['0:8 m8', '0:9 m9'])
  })

  describe('while the connection has much under way', () => {
    /** A bench whose connection has a full measure under way of another session. */
    function busy(): { bench: Bench; other: Bench; sent: SentOperation[] } {
      const bench = new Bench()
      const other = new Bench(bench.account)
      other.add('x'.repeat(LIMITS.connectionSentBytes + 1))
      return { bench, other, sent: other.send() }
    }

    it('keeps tokens back behind those that are unanswered, so that more can join them', () => {
      const { bench } = busy()
      bench.add('t0', true)
      const [first] = bench.send() as [SentOperation]
      bench.add('t1', true)
      expect(bench.send()).toEqual([])
      bench.ack(first, 0)
      expect(numbers(bench.send())).toEqual(['0:1 t1'])
    })

    it('does not keep back what nothing can join', () => {
      const { bench } = busy()
      for (let i = 0; i < 20; i++) bench.add(`m${i}`)
      expect(bench.send()).toHaveLength(LIMITS.appendsInFlight)
    })

    it('lets tokens go once enough has been answered, or the connection is lost', () => {
      for (const relieve of ['answer', 'lose']) {
        const { bench, other, sent } = busy()
        bench.add('t0', true)
        bench.send()
        bench.add('t1', true)
        expect(bench.send()).toEqual([])
        if (relieve === 'answer') other.ack(sent[0] as SentOperation, 0)
        else for (const lost of [other, bench]) lost.outbox.linkLost()
        expect(bench.send().at(-1)?.content).toBe('t1')
      }
    })

    it('counts as under way what was neither acknowledged nor refused, and nothing twice', () => {
      const { account } = new Bench()
      const [one, two] = [new Bench(account), new Bench(account)]
      for (const bench of [one, two]) for (const content of ['aa', 'bbb', 'cccc']) bench.add(content)
      const [[first, second], [third]] = [one.send(), two.send()] as [SentOperation[], SentOperation[]]
      expect(account.sentBytes).toBe(18)
      one.ack(first as SentOperation, 0)
      expect(account.sentBytes).toBe(16)
      // For good: those behind it were refused too, and get new numbers.
      one.refuse(second as SentOperation, 'STREAM_ENDED')
      one.send()
      expect(account.sentBytes).toBe(13)
      // For the time being.
      two.refuse(third as SentOperation, 'RATE_LIMITED')
      expect(account.sentBytes).toBe(11)
      for (const bench of [one, two]) bench.outbox.fail(new LitetopicError('GONE', 'gone'))
      expect(account.sentBytes).toBe(0)
    })
  })

  it('counts the bytes that wait, for itself and for the account', () => {
    const bench = filled(2)
    expect([bench.outbox.bytes, bench.account.bytes]).toEqual([4, 4])
    const [first] = bench.send() as [SentOperation, SentOperation]
    bench.ack(first, 0)
    expect([bench.outbox.bytes, bench.account.bytes]).toEqual([2, 2])
    bench.outbox.fail(new LitetopicError('GONE', 'gone'))
    expect([bench.outbox.bytes, bench.account.bytes]).toEqual([0, 0])
  })

  it('lets tokens join an operation until one that is not tokens comes behind it', () => {
    const { account, outbox } = new Bench()
    const tokens = account.take(new Told('tokens'))
    outbox.add(tokens, true)
    outbox.add(account.take(new Told('other tokens')), true)
    expect(outbox.hasRoom(tokens, 10)).toBe(true)
    outbox.add(account.take(new Told('message')), false)
    expect(outbox.hasRoom(tokens, 10)).toBe(false)
  })
})

describe('a lost connection', () => {
  it('is followed by the same numbers and bytes, in order, and what was written meanwhile behind them', () => {
    const bench = filled(2)
    const before = bench.send()
    bench.outbox.linkLost()
    bench.add('later')
    bench.outbox.attached({ producerEpoch: 0, sequence: 0 }, 0)
    expect(numbers(bench.send())).toEqual([...numbers(before), '0:2 later'])
  })

  it('starts again at 0 with a broker that never heard of it', () => {
    const bench = filled(2)
    const before = bench.send()
    bench.outbox.linkLost()
    bench.outbox.attached(null, 0)
    expect(numbers(bench.send())).toEqual(numbers(before))
  })

  it('tells owners of what may be stored already when the broker has forgotten the producer, and goes on with the rest', () => {
    const bench = filled(2)
    const [first] = bench.send() as [SentOperation, SentOperation]
    bench.ack(first, 0)
    bench.outbox.linkLost()
    bench.add('never sent')
    bench.outbox.attached(null, 0)
    expect(bench.told.map(({ outcome }) => outcome)).toEqual(['at 0', 'PRODUCER_UNKNOWN', null])
    expect(numbers(bench.send())).toEqual(['1:0 never sent'])
  })

  it('does not trust a broker that knows nothing after so long that it may have forgotten', () => {
    const bench = filled(1)
    bench.send()
    bench.outbox.linkLost()
    bench.outbox.attached(null, LIMITS.producerKeepMs)
    expect(bench.told[0]?.outcome).toBe('PRODUCER_UNKNOWN')
  })

  it('takes new numbers with a broker that has lost what it acknowledged: then it cannot have what was sent after', () => {
    const bench = filled(3)
    const sent = bench.send()
    bench.ack(sent[0] as SentOperation, 0)
    bench.ack(sent[1] as SentOperation, 1)
    bench.outbox.linkLost()
    bench.outbox.attached({ producerEpoch: 0, sequence: 0 }, 0)
    expect(numbers(bench.send())).toEqual(['1:0 m2'])
  })
})

describe('a refusal for good', () => {
  it('is told to its owner; those behind it get new numbers in the next epoch, at once when none before it is open', () => {
    const bench = filled(3)
    const sent = bench.send()
    expect(bench.refuse(sent[0] as SentOperation, 'STREAM_EXISTS')).toBe(false)
    expect(bench.told[0]?.outcome).toBe('STREAM_EXISTS')
    expect(numbers(bench.send())).toEqual(['1:0 m1', '1:1 m2'])
    expect(bench.refuse(sent[1] as SentOperation, 'SEQUENCE_GAP')).toBe(false)
    expect(bench.told.map(({ outcome }) => outcome)).toEqual(['STREAM_EXISTS', null, null])
  })

  it('of the first of a new producer may come behind those that follow from it, which are not told', () => {
    const bench = filled(3)
    const sent = bench.send()
    bench.refuse(sent[1] as SentOperation, 'PRODUCER_UNKNOWN')
    bench.refuse(sent[2] as SentOperation, 'PRODUCER_UNKNOWN')
    expect(bench.refuse(sent[0] as SentOperation, 'STREAM_EXISTS')).toBe(false)
    expect(bench.told.map(({ outcome }) => outcome)).toEqual(['STREAM_EXISTS', null, null])
    expect(numbers(bench.send())).toEqual(['1:0 m1', '1:1 m2'])
  })

  it('explains the gaps that were found before it, however many are refused one after the other', () => {
    const bench = filled(6)
    for (let refused = 0; refused < 5; refused++) {
      const [first, second] = bench.send() as [SentOperation, SentOperation]
      bench.refuse(second, 'PRODUCER_UNKNOWN')
      bench.refuse(first, 'FENCED')
    }
    expect(bench.told.map(({ outcome }) => outcome)).toEqual([...Array(5).fill('FENCED'), null])
  })

  it('keeps the old numbers of those before it, which were accepted, until they are acknowledged', () => {
    const bench = filled(3)
    const sent = bench.send()
    bench.refuse(sent[1] as SentOperation, 'FENCED')
    expect(bench.send()).toEqual([])
    bench.outbox.linkLost()
    bench.outbox.attached({ producerEpoch: 0, sequence: 0 }, 0)
    expect(numbers(bench.send())).toEqual(['0:0 m0'])
    bench.ack(sent[0] as SentOperation, 7)
    expect(numbers(bench.send())).toEqual(['1:0 m2'])
    expect(bench.told.map(({ outcome }) => outcome)).toEqual(['at 7', 'FENCED', null])
  })

  it('takes what its owner has not sent out of the queue, and nobody else', () => {
    const bench = filled(2)
    const owner = bench.told[0] as Told
    bench.outbox.withdraw(owner, new LitetopicError('FENCED', 'fenced'))
    expect(numbers(bench.send())).toEqual(['0:0 m1'])
    expect(owner.outcome).toBeNull()
  })
})

describe('the end of writing', () => {
  it('fails what was never sent; what was is still answered', async () => {
    const bench = filled(LIMITS.appendsInFlight + 2)
    const sent = bench.send()
    const drained = bench.outbox.drained()
    bench.outbox.failUnsent(new LitetopicError('FENCED', 'fenced'))
    expect(bench.told.map(({ outcome }) => outcome)).toEqual([...sent.map(() => null), 'FENCED', 'FENCED'])
    sent.forEach((operation, i) => {
      bench.ack(operation, i)
    })
    expect(bench.told.slice(0, sent.length).map(({ outcome }) => outcome)).toEqual(sent.map((_, i) => `at ${i}`))
    expect(bench.account.bytes).toBe(0)
    expect(await drained).toMatchObject({ code: 'FENCED' })
  })
})

describe('a refusal for the time being', () => {
  it('holds everything back until it is released and those behind it are answered too, then sends the same numbers again', () => {
    const bench = filled(3)
    const sent = bench.send()
    expect(bench.refuse(sent[1] as SentOperation, 'STORE_UNAVAILABLE')).toBe(true)
    bench.add('later')
    bench.outbox.release()
    expect(bench.send()).toEqual([])
    expect(bench.refuse(sent[2] as SentOperation, 'SEQUENCE_GAP')).toBe(false)
    expect(numbers(bench.send())).toEqual(['0:1 m1', '0:2 m2', '0:3 later'])
    expect(bench.told.map(({ outcome }) => outcome)).toEqual([null, null, null, null])
  })

  it('is what a gap counts as that nothing explains, but not for ever', () => {
    const bench = filled(1)
    for (let i = 0; i < 3; i++) {
      expect(bench.refuse(bench.send()[0] as SentOperation, 'SEQUENCE_GAP')).toBe(true)
      bench.outbox.release()
    }
    expect(bench.refuse(bench.send()[0] as SentOperation, 'SEQUENCE_GAP')).toBe(false)
    expect(bench.told[0]?.outcome).toBe('SEQUENCE_GAP')
  })
})

describe('waiting for all that was written', () => {
  it('resolves when it is answered, not when later things are, and with the first error', async () => {
    const bench = filled(2)
    const drained = bench.outbox.drained()
    bench.add('later')
    const sent = bench.send()
    bench.ack(sent[0] as SentOperation, 0)
    bench.refuse(sent[1] as SentOperation, 'FENCED')
    await expect(drained).resolves.toMatchObject({ code: 'FENCED' })
    const rest = bench.outbox.drained()
    bench.ack(bench.send()[0] as SentOperation, 1)
    await expect(rest).resolves.toBeUndefined()
    await expect(bench.outbox.drained()).resolves.toBeUndefined()
  })
})

/** What may happen between client and broker. Numbers choose among what is possible. */
type Turn =
  | { readonly kind: 'write' | 'deliver' | 'answer'; readonly refusal: ErrorCode | null }
  | { readonly kind: 'drop' | 'release' }

const anyTurn: fc.Arbitrary<Turn> = fc.oneof(
  { weight: 4, arbitrary: fc.constant<Turn>({ kind: 'write', refusal: null }) },
  {
    weight: 6,
    arbitrary: fc.constantFrom<Turn>(
      { kind: 'deliver', refusal: null },
      { kind: 'deliver', refusal: null },
      { kind: 'deliver', refusal: null },
      { kind: 'deliver', refusal: 'STREAM_ENDED' },
      { kind: 'deliver', refusal: 'STORE_UNAVAILABLE' },
      { kind: 'deliver', refusal: 'RATE_LIMITED' },
    ),
  },
  { weight: 6, arbitrary: fc.constant<Turn>({ kind: 'answer', refusal: null }) },
  { weight: 1, arbitrary: fc.constantFrom<Turn>({ kind: 'drop' }, { kind: 'release' }) },
)

/** Client and broker with two lines between them that keep order, and lose what is on them when the connection drops. */
class World {
  readonly bench = new Bench()
  readonly broker = new ModelBroker()
  private up: SentOperation[] = []
  private down: { sent: SentOperation; answer: Answer }[] = []
  private written = 0
  private readonly tokens: boolean

  /** Writes tokens, not messages; with so many bytes of other sessions under way. */
  constructor(tokens: boolean, sentBytes: number) {
    this.tokens = tokens
    this.bench.account.sentBytes = sentBytes
  }

  turn(turn: Turn): void {
    switch (turn.kind) {
      case 'write':
        this.bench.add(`m${this.written++}`, this.tokens)
        break
      case 'deliver': {
        const sent = this.up.shift()
        if (sent !== undefined) this.down.push({ sent, answer: this.broker.receive(sent, turn.refusal) })
        break
      }
      case 'answer': {
        const next = this.down.shift()
        if (next !== undefined) this.bench.answer(next.sent, next.answer)
        break
      }
      case 'drop':
        this.up = []
        this.down = []
        this.bench.outbox.linkLost()
        this.bench.outbox.attached(this.broker.known, 0)
        break
      case 'release':
        this.bench.outbox.release()
    }
    this.up.push(...this.bench.send())
  }

  /** Everything works from now on. */
  settle(): void {
    for (let i = 0; i < 1_000 && !this.bench.outbox.empty; i++) {
      for (const kind of ['deliver', 'answer', 'release'] as const) this.turn({ kind, refusal: null } as Turn)
    }
  }
}

describe('whatever happens', () => {
  it('every operation is stored once or refused once, in the order of writing, and told truly', () => {
    fc.assert(
      fc.property(fc.array(anyTurn, { maxLength: 120 }), fc.boolean(), fc.boolean(), (turns, tokens, busy) => {
        const others = busy ? LIMITS.connectionSentBytes + 1 : 0
        const world = new World(tokens, others)
        for (const turn of turns) world.turn(turn)
        world.settle()
        const { told, outbox, account } = world.bench
        expect(outbox.empty).toBe(true)
        expect([account.bytes, account.sentBytes]).toEqual([0, others])
        const stored = told.filter(({ outcome }) => outcome?.startsWith('at '))
        expect(stored.map(({ content }) => content)).toEqual(world.broker.log)
        expect(stored.map(({ outcome }) => outcome)).toEqual(world.broker.log.map((_, i) => `at ${i}`))
        for (const { outcome } of told) expect(outcome).toMatch(/^(at \d+|STREAM_ENDED)$/)
      }),
      { numRuns: 500 },
    )
  })
})
