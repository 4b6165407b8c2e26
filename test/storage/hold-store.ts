/** A process that opens the store it is told, appends one entry, says so, and lives until it is killed. */

import { isLitetopicError } from '../../protocol/index.ts'
import { openLevelStore } from '../../storage/leveldb/level-store.ts'

try {
  const store = await openLevelStore(process.argv[2] as string)
  await store.journal.append(store.journal.last + 1, [Buffer.from('held')])
  process.stdout.write('open\n')
  process.stdin.resume()
} catch (error) {
  process.stdout.write(isLitetopicError(error) ? error.code : String(error))
}
