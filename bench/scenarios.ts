/** All scenarios of the suite. */

import { fanout } from './fanout.ts'
import { floor } from './floor.ts'
import { http } from './http.ts'
import { large } from './large.ts'
import { latency } from './latency.ts'
import { million } from './million.ts'
import { peers } from './peers.ts'
import { resume } from './resume.ts'
import type { Scenario } from './scenario.ts'
import { soak } from './soak.ts'
import { tokens } from './tokens.ts'

/** In the order in which `all` runs them; later ones may use what earlier ones measured. */
export const SCENARIOS: readonly Scenario[] = [
  tokens,
  floor,
  latency,
  fanout,
  resume,
  large,
  million,
  http,
  peers,
  soak,
]
