/** resumable-stream without Redis: what `import … from 'litetopic/resumable-stream'` gives in place of `resumable-stream`. */

export {
  type CreateResumableStreamContextOptions,
  type Publisher,
  type ResumableStreamContext,
  resumeStream,
  type Subscriber,
} from 'resumable-stream/generic'
export { type ContextOptions, createResumableStreamContext } from './context.ts'
export { createPublisher } from './publisher.ts'
export { createSubscriber, type SubscriberOptions } from './subscriber.ts'
