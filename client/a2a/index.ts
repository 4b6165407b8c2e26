/** A2A: `import … from 'litetopic/a2a'`. */

export { OFFSET_KEY } from './codec.ts'
export { type HandlerOptions, LitetopicRequestHandler } from './handler.ts'
export { TaskBus } from './task-bus.ts'
export { LitetopicTasks, type TasksOptions } from './tasks.ts'
