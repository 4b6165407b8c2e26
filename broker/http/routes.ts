/** Every route of the HTTP face, a plugin for each part of it. A part is added here, and nowhere else. */

import { connectionRoutes } from './connections/connections.ts'
import { contentRoutes } from './content/routes.ts'
import { streamRoutes } from './durable-streams/routes.ts'
import { subscriptionRoutes } from './durable-streams/subscriptions.ts'
import type { Face } from './face.ts'
import type { App } from './fastify.ts'
import { eventRoutes } from './sessions/events.ts'
import { bodyRoutes, jsonRoutes } from './sessions/routes.ts'

/** Adds its routes to the app, which is its own: hooks and parsers of it are no other part's. */
export type Routes = (app: App, face: Face) => void

export const ROUTES: readonly Routes[] = [
  // Connections of clients that WebSockets do not reach.
  connectionRoutes,
  // Sessions, and what is in them.
  jsonRoutes,
  bodyRoutes,

  // Event streams.
  eventRoutes,

  // Content of large messages.
  contentRoutes,

  // Durable Streams.
  streamRoutes,

  // Subscriptions of Durable Streams.
  subscriptionRoutes,
]
