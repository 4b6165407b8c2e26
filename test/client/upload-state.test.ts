/** The state machine of one upload, alone and against a model of the broker with a network that breaks. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { UploadState } from '../../client/upload-state.ts'
import { type ErrorCode, LIMITS } from '../../protocol/index.ts'
import { ModelUpload } from './model-upload.ts'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const textOf = (part: Uint8Array): string => new TextDecoder().decode(part)

/** What a client and its broker do, one step at a time. */
type Step =
  | { readonly do: 'cut' | 'send' | 'answer' | 'takeBack' | 'ask' }
  | { readonly do: 'grant'; readonly parts: number }
  | { readonly do: 'receive'; readonly refusal: ErrorCode | null }
  | { readonly do: 'drop'; readonly alsoStored: number }

/** Client, broker and the messages between them, in order each way. */
class Rig {
  readonly state = new UploadState()
  readonly broker = new ModelUpload()
  private up: (((refusal: ErrorCode | null) => void) | undefined)[] = []
  private asked = false
  private down: (() => void)[] = []
  private readonly total: number

  constructor(total: number) {
    this.total = total
    this.state.began(this.broker.ask())
  }

  step(step: Step): void {
    const { state, broker, up, down } = this
    switch (step.do) {
      case 'cut':
        if (state.hasRoom && state.cut < this.total) state.add(bytes(`part ${state.cut}`))
        if (state.cut === this.total) state.end()
        return
      case 'send': {
        const part = state.take()
        if (part !== null) up.push((refusal) => this.receive(part.index, textOf(part.bytes), refusal))
        return
      }
      case 'receive':
        up.shift()?.(step.refusal)
        return
      case 'answer':
        down.shift()?.()
        return
      case 'grant': {
        const parts = Math.min(step.parts, broker.mayGrant)
        if (parts <= 0) return
        broker.grant(parts)
        down.push(() => state.granted(parts))
        return
      }
      case 'takeBack':
        broker.takeBack()
        down.push(() => state.granted(0))
        return
      case 'ask':
        if (!state.heldBack || this.asked) return
        this.asked = true
        up.push(() => {
          const storedParts = broker.ask()
          down.push(() => {
            this.asked = false
            state.began(storedParts)
          })
        })
        return
      case 'drop':
        this.up = []
        this.down = []
        this.asked = false
        broker.cut(step.alsoStored)
        state.lost()
        state.began(broker.ask())
        return
    }
  }

  private receive(index: number, content: string, refusal: ErrorCode | null): void {
    const { state, broker, down } = this
    const error = broker.receive(index, content, refusal)
    if (error === null) {
      down.push(() => {
        broker.store()
        state.partStored(index)
      })
      return
    }
    down.push(() => {
      expect(state.partRefused(index, error.code !== 'BAD_REQUEST'), `${error.code} of part ${index}`).toBe(true)
    })
  }
}

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom<Step>({ do: 'cut' }, { do: 'send' }, { do: 'answer' }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('grant' as const), parts: fc.integer({ min: 1, max: 3 }) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('receive' as const),
      refusal: fc.option(fc.constantFrom<ErrorCode>('STORE_UNAVAILABLE', 'RATE_LIMITED'), { freq: 5 }),
    }),
  },
  { weight: 1, arbitrary: fc.constantFrom<Step>({ do: 'takeBack' }, { do: 'ask' }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('drop' as const), alsoStored: fc.integer({ min: 0, max: 4 }) }),
  },
)

/** What a sound network and broker do, again and again. */
const SOUND: readonly Step[] = [
  { do: 'cut' },
  { do: 'grant', parts: 1 },
  { do: 'answer' },
  { do: 'send' },
  { do: 'receive', refusal: null },
  { do: 'answer' },
  { do: 'ask' },
]

describe('an upload', () => {
  it('is at the broker once, whole and in order, whatever is refused, taken back or lost on the way', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 12 }),
        fc.array(anyStep, { maxLength: 120, size: 'max' }),
        (total, steps) => {
          const rig = new Rig(total)
          for (const step of steps) rig.step(step)
          for (let round = 0; round < 200 && !rig.state.complete; round++) for (const step of SOUND) rig.step(step)
          expect(rig.broker.stored).toEqual(Array.from({ length: total }, (_, i) => `part ${i}`))
          expect([rig.state.complete, rig.state.stored]).toEqual([true, total])
        },
      ),
      { numRuns: 500 },
    )
  })

  it('sends nothing that was not granted, and keeps no more than may be on its way', () => {
    const state = new UploadState()
    for (let i = 0; i < LIMITS.partsPerConnection; i++) {
      expect(state.hasRoom).toBe(true)
      state.add(bytes(`${i}`))
    }
    expect(state.hasRoom).toBe(false)
    state.began(0)
    expect(state.take()).toBeNull()
    state.granted(1)
    expect(state.take()?.index).toBe(0)
    expect(state.take()).toBeNull()
    state.partStored(0)
    expect(state.hasRoom).toBe(true)
    state.granted(3)
    state.granted(0)
    expect(state.take()).toBeNull()
  })

  it('sends again after a refusal for the time being only when all behind it have been answered', () => {
    const state = new UploadState()
    for (const text of ['a', 'b', 'c']) state.add(bytes(text))
    state.began(0)
    state.granted(4)
    expect([state.take()?.index, state.take()?.index]).toEqual([0, 1])
    expect(state.partRefused(0, true)).toBe(true)
    expect([state.heldBack, state.sendable]).toEqual([false, false])
    expect(state.partRefused(1, false)).toBe(true)
    expect(state.heldBack).toBe(true)
    state.began(0)
    expect(state.take()).toBeNull()
    state.granted(1)
    expect(state.take()?.index).toBe(0)
  })

  it('has failed when a part is refused for good', () => {
    const state = new UploadState()
    state.add(bytes('a'))
    state.began(0)
    state.granted(1)
    state.take()
    expect(state.partRefused(0, false)).toBe(false)
  })

  it('is unknown when the broker has less than it said, and nonsense when it has more than there is', () => {
    const state = new UploadState()
    state.add(bytes('a'))
    state.began(0)
    state.granted(1)
    state.take()
    state.partStored(0)
    state.lost()
    expect(() => state.began(0)).toThrow(expect.objectContaining({ code: 'UPLOAD_UNKNOWN' }))
    expect(() => state.began(2)).toThrow(expect.objectContaining({ code: 'BAD_FRAME' }))
    state.began(1)
  })

  it('is complete when its end is known and all is durable, and was begun even if it is empty', () => {
    const state = new UploadState()
    state.end()
    expect(state.complete).toBe(false)
    state.began(0)
    expect(state.complete).toBe(true)
  })
})
