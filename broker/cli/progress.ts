/** Telling, on standard error, that a long check goes on. */

/** Topics between two lines. */
const PROGRESS_TOPICS = 10_000

export function tellProgress(topics: number, records: number): void {
  if (topics % PROGRESS_TOPICS === 0) console.error(`litetopic: ${topics} topics, ${records} records`)
}
