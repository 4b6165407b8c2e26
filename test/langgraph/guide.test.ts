/** The samples of the guide, taken from the page and run. */

import { Annotation, END, START, StateGraph } from '@langchain/langgraph'
import { expect, it } from 'vitest'
import { LitetopicSaver } from '../../client/langgraph/index.ts'
import { runSample, sampleOf } from '../guides.ts'
import { client, serve } from './savers.ts'

const GUIDE = new URL('../../client/langgraph/README.md', import.meta.url)

it('the sample about checkpoints runs a graph, and a second process finds what the first one left', async () => {
  const server = await serve()
  const State = Annotation.Root({ asked: Annotation<string>, answer: Annotation<string> })
  const builder = new StateGraph(State)
    .addNode('reply', ({ asked }) => ({ answer: `${asked}? Fine.` }))
    .addEdge(START, 'reply')
    .addEdge('reply', END)
  const printed: unknown[][] = []
  const given = {
    connect: () => client(server.url),
    LitetopicSaver,
    builder,
    console: { log: (...values: unknown[]) => printed.push(values) },
  }
  await runSample(sampleOf(GUIDE, 'Checkpoints'), given)
  expect(printed).toEqual([['How are you? Fine.'], [[]]])
})
