/** What comes back from the journal when a commit is durable, or has failed. */

import type { LitetopicError } from '../protocol/index.ts'

export interface CommitItem {
  committed(): void
  failed(error: LitetopicError): void
}
