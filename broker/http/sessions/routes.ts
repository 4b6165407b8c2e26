/** The routes of the sessions API: those whose bodies are JSON, and those that take a body of any type as bytes. */

import type { Face } from '../face.ts'
import type { App } from '../fastify.ts'
import { rawBodies } from '../parsers.ts'
import { appendRoutes } from './append.ts'
import { attachmentRoutes } from './attachment.ts'
import { brokerRoutes } from './broker.ts'
import { changeRoutes } from './change.ts'
import { contextRoutes } from './context.ts'
import { readRoutes } from './read.ts'
import { resumeRoutes } from './resume.ts'
import { sessionRoutes } from './sessions.ts'
import { streamRoutes, tokenRoutes } from './streams.ts'

export function jsonRoutes(app: App, face: Face): void {
  for (const add of [
    sessionRoutes,
    streamRoutes,
    changeRoutes,
    readRoutes,
    resumeRoutes,
    attachmentRoutes,
    brokerRoutes,
  ])
    add(app, face)
}

export function bodyRoutes(app: App, face: Face): void {
  rawBodies(app, face)
  for (const add of [appendRoutes, tokenRoutes, contextRoutes]) add(app, face)
}
