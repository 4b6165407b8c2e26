/** How topics lie on connections, what is in them, and in which order a load goes over them. */

/** Tokens for so many topics of one connection are due at once, before those of the next one. */
const BURST = 5

/** Where a topic is: which connection has it, and which of that one's topics it is. */
export interface Place {
  readonly connection: number
  readonly slot: number
}

/** All topics, numbered in the order in which a load goes over them: a few of one connection, then a few of the next. */
export class Layout {
  readonly connections: number
  readonly perConnection: number

  /** At least so many topics: each connection has as many as the others, in whole bursts. */
  constructor(topics: number, connections: number) {
    this.connections = connections
    this.perConnection = Math.ceil(topics / connections / BURST) * BURST
  }

  get topics(): number {
    return this.connections * this.perConnection
  }

  place(topic: number): Place {
    const burst = Math.floor(topic / BURST)
    return {
      connection: burst % this.connections,
      slot: Math.floor(burst / this.connections) * BURST + (topic % BURST),
    }
  }

  /** The topic at a place. */
  at({ connection, slot }: Place): number {
    return (Math.floor(slot / BURST) * this.connections + connection) * BURST + (slot % BURST)
  }

  name(topic: number): string {
    const { connection, slot } = this.place(topic)
    return `agents/${connection}/session-${slot}`
  }
}

/** The value of the first record of a topic. */
export function firstValue(topic: number): string {
  return `first of ${topic}`
}

/** So many of them, at random, none twice; in the order in which they are to be used. */
export function sample(topics: number, count: number): number[] {
  const chosen = new Set<number>()
  while (chosen.size < Math.min(count, topics)) chosen.add(Math.floor(Math.random() * topics))
  return [...chosen]
}
