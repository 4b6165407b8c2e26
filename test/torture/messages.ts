/** What the torture tells its processes, and what they tell it. */

export interface AgentRole {
  readonly name: string
  /** Which life of the agent this is. */
  readonly life: number
  readonly topic: string
  /** Its records may be trimmed. */
  readonly trims: boolean
}

export interface AgentsRole {
  readonly url: string
  readonly directory: string
  readonly seed: number
  readonly agents: readonly AgentRole[]
}

export interface ReaderRole {
  readonly name: string
  readonly topic: string
  readonly raw: boolean
}

export interface ReadersRole {
  readonly url: string
  readonly directory: string
  readonly seed: number
  readonly readers: readonly ReaderRole[]
  /** Read to the end that there is now, and leave. */
  readonly drain: boolean
}

/** Records that were acknowledged, or read, since the process began. */
export interface Progress {
  readonly type: 'progress'
  readonly records: number
}

/** In a process of the torture: its role, whether it was told to come to an end, and how to tell its parent. */
export function told<R>(): { role: R; finished: () => boolean; tell: (progress: Progress) => void } {
  let isOver = false
  process.on('message', (message) => {
    if (message === 'finish') isOver = true
  })
  // The torture itself was killed.
  process.on('disconnect', () => process.exit(1))
  const role = JSON.parse(String(process.argv[2])) as R
  return { role, finished: () => isOver, tell: (progress) => void process.send?.(progress) }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
