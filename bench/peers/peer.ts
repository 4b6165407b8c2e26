/** What every peer must be able to do, so that all of them bear the same workloads: the product is one of them. */

/** Eight bytes each in the suite. */
export type TakeToken = (topic: number, text: string) => void

export interface Peer {
  readonly name: string
  /** How it is set up and loaded, in one line. */
  readonly setup: string
  /** Topics for which it can be asked within reason. Default: as many as anyone. */
  readonly mostTopics?: number
  /** Why it cannot run here; null if it can. */
  missing(): Promise<string | null>
  /** A server of its own, without data, that answers. */
  start(): Promise<PeerServer>
}

/** One server in a process of its own on a temporary directory, and a client of it in this process. */
export interface PeerServer {
  /** What topics 0 to `topics - 1` need before their first token. */
  open(topics: number): Promise<void>
  /** Publishes a token. Returns what to wait for before the next one; null if there is room. */
  write(topic: number, text: string): Promise<void> | null
  /** Makes a topic with a first record, without `open`. Returns as `write` does. */
  create(topic: number, text: string): Promise<void> | null
  /** Resolves when all that was published is acknowledged; rejects if anything was not. */
  flush(): Promise<void>
  /** Hands over what the topics hold, `each` tokens, those of a topic in order, and whatever there is beyond that is an error. */
  readAll(topics: number, each: number, take: TakeToken): Promise<void>
  /** The first record of a topic. */
  readFirst(topic: number): Promise<string>
  /** Lets go of what clients hold of topics that they have made. */
  release(): Promise<void>
  /** Memory of the server that no file backs. */
  anonBytes(): number
  diskBytes(): Promise<number>
  /** Ends the server in good order; its data stays. */
  shutDown(): Promise<void>
  /** Starts it again on its data. It may not answer yet when this resolves, but its first answer comes by itself. */
  startAgain(): Promise<void>
  /** Ends it and removes its data. */
  stop(): Promise<void>
}

/** What is not acknowledged yet, of one writer that waits when it is too much. */
export class Window {
  private readonly limit: number
  private count = 0
  private bound = 0
  private wake: () => void = () => undefined
  private failure: Error | null = null

  constructor(limit: number) {
    this.limit = limit
  }

  /** One more is on its way. Returns what to wait for before the next one; null if there is room. */
  enter(): Promise<void> | null {
    this.count++
    return this.count < this.limit ? null : this.below(this.limit)
  }

  leave(): void {
    this.count--
    if (this.count < this.bound) this.wake()
  }

  /** Whoever waits is told. */
  fail(error: unknown): void {
    this.failure ??= error instanceof Error ? error : new Error(String(error))
    this.wake()
  }

  empty(): Promise<void> {
    return this.below(1)
  }

  private async below(bound: number): Promise<void> {
    while (this.failure === null && this.count >= bound) {
      this.bound = bound
      await new Promise<void>((resolve) => {
        this.wake = resolve
      })
    }
    if (this.failure !== null) throw this.failure
  }
}
