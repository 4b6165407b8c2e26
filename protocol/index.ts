/** The wire protocol: what a client in another language would have to write again. Pure; runs in a browser. */

export * from './batch.ts'
export * from './bytes.ts'
export * from './codec.ts'
export * from './cursor.ts'
export * from './entries.ts'
export * from './errors.ts'
export * from './frames.ts'
export * from './limits.ts'
export * from './names.ts'
export * from './record.ts'
export type { Shape, TypeOf } from './shape.ts'
export * from './version.ts'
