/** What a process has used of the processors, as Linux counts it. */

import { readFileSync } from 'node:fs'

/** Linux counts in hundredths of a second, on every machine that runs Node. */
const MS_PER_TICK = 10

/** User and system time of all threads of a process since it began; 0 where there is no /proc. */
export function cpuMs(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name, in brackets, may hold anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) * MS_PER_TICK
  } catch {
    return 0
  }
}
