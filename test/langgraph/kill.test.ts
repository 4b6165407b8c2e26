/** A broker that is killed in the middle of a graph's run: a process of its own, LevelDB, fsync. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Annotation, END, START, StateGraph } from '@langchain/langgraph'
import { expect, it } from 'vitest'
import { LitetopicSaver } from '../../client/langgraph/index.ts'
import { killAll, litetopic, type Running } from '../cli/processes.ts'
import { afterwards, client } from './savers.ts'

const THREAD = { configurable: { thread_id: 't' } }

/** A broker that comes back at its address when it is killed. */
class Process {
  private running: Running
  readonly url: string
  private readonly directory: string

  private constructor(running: Running, url: string, directory: string) {
    this.running = running
    this.url = url
    this.directory = directory
  }

  static async start(): Promise<Process> {
    const directory = await mkdtemp(join(tmpdir(), 'litetopic-langgraph-'))
    afterwards(async () => {
      killAll()
      await rm(directory, { recursive: true, force: true })
    })
    const running = serve(directory, 0)
    return new Process(running, await address(running), directory)
  }

  async kill(): Promise<void> {
    this.running.process.kill('SIGKILL')
    await this.running.ended
    this.running = serve(this.directory, Number(new URL(this.url).port))
    await address(this.running)
  }
}

function serve(directory: string, port: number): Running {
  return litetopic(['serve', '--port', String(port), '--data', directory])
}

async function address(running: Running): Promise<string> {
  return (await running.printed(/^litetopic listening on (ws:\S+)\n/))[1] as string
}

it('a run goes on when the broker is killed, and what is checkpointed is not run again', {
  timeout: 120_000,
}, async () => {
  const broker = await Process.start()
  const runs: string[] = []
  const State = Annotation.Root({
    done: Annotation<string[]>({ reducer: (done, more) => [...done, ...more], default: () => [] }),
  })
  const graph = (inSlow: () => Promise<void>) => {
    const saver = new LitetopicSaver(client(broker.url))
    const step = (name: string, fn?: () => Promise<void>) => async () => {
      runs.push(name)
      await fn?.()
      return { done: [name] }
    }
    return new StateGraph(State)
      .addNode('first', step('first'))
      .addNode('fast', step('fast'))
      .addNode('slow', step('slow', inSlow))
      .addNode(
        'last',
        step('last', () => broker.kill()),
      )
      .addEdge(START, 'first')
      .addEdge('first', 'fast')
      .addEdge('first', 'slow')
      .addEdge(['fast', 'slow'], 'last')
      .addEdge('last', END)
      .compile({ checkpointer: saver })
  }
  const looking = new LitetopicSaver(client(broker.url))
  const crash = async (): Promise<void> => {
    // What the task beside it has written is stored, and the next checkpoint is not there.
    for (;;) {
      const found = await looking.getTuple(THREAD)
      if (found?.pendingWrites?.some(([, channel]) => channel === 'done')) break
    }
    await broker.kill()
    throw new Error('and this process is gone, too')
  }
  await expect(graph(crash).invoke({ done: ['asked'] }, THREAD)).rejects.toThrow('gone, too')
  expect([...runs].sort()).toEqual(['fast', 'first', 'slow'])

  runs.length = 0
  const { done } = await graph(async () => {}).invoke(null, THREAD)
  expect(runs).toEqual(['slow', 'last'])
  expect(done).toEqual(['asked', 'first', 'fast', 'slow', 'last'])
  const state = await graph(async () => {}).getState(THREAD)
  expect(state).toMatchObject({ values: { done }, next: [] })
})
