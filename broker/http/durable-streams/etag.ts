/** Entity tags of catch-up reads: which records of which incarnation a response has, and whether it says that the stream is closed. */

/** A strong validator: the bytes of a range never change. */
export function formatEtag(epoch: number, from: number, to: number, closed: boolean): string {
  return `"${epoch.toString(36)}:${from.toString(36)}:${to.toString(36)}${closed ? ':c' : ''}"`
}
