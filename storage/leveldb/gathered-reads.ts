/**
 * Reads of single keys, gathered while others are under way: asked for one at a time, each would cost a hop to another thread
 * and back, which takes longer than the reading. One that comes alone does not wait.
 */

import type { LevelHandle } from './level-handle.ts'

/** Reads under way at once. */
const AT_ONCE = 2
/** Keys in one read. */
const KEYS_AT_ONCE = 128

interface Asked {
  readonly key: Uint8Array
  readonly resolve: (value: Uint8Array | undefined) => void
  readonly reject: (error: unknown) => void
}

export class GatheredReads {
  readonly #db: LevelHandle
  #waiting: Asked[] = []
  #underWay = 0

  constructor(db: LevelHandle) {
    this.#db = db
  }

  /** The value of the key, or undefined. */
  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ key, resolve, reject })
      if (this.#underWay < AT_ONCE) void this.#read()
    })
  }

  async #read(): Promise<void> {
    this.#underWay++
    while (this.#waiting.length > 0) {
      const asked = this.#waiting.splice(0, KEYS_AT_ONCE)
      try {
        const values = await this.#db.getMany(asked.map(({ key }) => key))
        for (const [i, { resolve }] of asked.entries()) resolve(values[i])
      } catch {
        // Where one of them is damaged the others are not.
        for (const { key, resolve, reject } of asked) this.#db.get(key).then(resolve, reject)
      }
    }
    this.#underWay--
  }
}
