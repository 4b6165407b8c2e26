/** What drives an operation of /openapi.json: see drives.ts. */

import type { HttpBroker } from './http.ts'

/** Asks the operation, and checks its answer by the document. */
export type Call = (path: string, init?: RequestInit) => Promise<Response>
export type Drive = (call: Call, http: HttpBroker) => Promise<unknown>
