/** A process that writes a stream: what it is given, behind a beginning. */

import { createResumableStreamContext } from '../../client/resumable-stream/index.ts'

const context = createResumableStreamContext({ waitUntil: null })
const stream = new ReadableStream<string>({
  start: (controller) => {
    controller.enqueue('begun;')
    process.stdin.on('data', (data) => controller.enqueue(String(data)))
  },
})
await context.createNewResumableStream('s', () => stream)
process.stdout.write('ready')
