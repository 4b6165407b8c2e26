/** Steps of a program that a test lets go on, from another process: each message of the topic `permits` says how far. */

import type { Broker } from '../client/index.ts'

/** Resolves when the step may be taken. */
export type Permit = (step: number) => Promise<unknown>

export function permitsOf(broker: Broker): Permit {
  let permitted = 0
  let look = (): void => undefined
  const watch = async (): Promise<void> => {
    const permits = await broker.session<number>('permits')
    for await (const record of permits.records()) {
      if (record.kind !== 'message' || record.large) continue
      permitted = record.value
      look()
    }
  }
  void watch()
  return async (step) => {
    while (permitted < step) {
      await new Promise<void>((resolve) => {
        look = resolve
      })
    }
  }
}
