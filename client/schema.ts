/** Validation by any library that speaks Standard Schema version 1, of which the part used is written down here. */

import { LitetopicError } from '../protocol/index.ts'

/** See https://standardschema.dev. */
export interface StandardSchemaV1<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>
    readonly types?: { readonly input: Input; readonly output: Output } | undefined
  }
}

type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly StandardIssue[] }

interface StandardIssue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

/** The schema's output. Throws SCHEMA_INVALID with the issues in its details; also for a schema that validates asynchronously. */
export function validate<T>(schema: StandardSchemaV1<unknown, T>, value: unknown): T {
  const result = schema['~standard'].validate(value)
  if (result instanceof Promise) {
    // What becomes of it no longer matters.
    result.catch(() => {})
    throw new LitetopicError('SCHEMA_INVALID', 'the schema validates asynchronously, which a session cannot wait for')
  }
  if (result.issues === undefined) return result.value
  const issues = result.issues.map(({ message, path }) => ({ message, path: pathText(path) }))
  const first = issues[0]
  const where = first === undefined || first.path === '' ? '' : ` at ${first.path}`
  throw new LitetopicError('SCHEMA_INVALID', `the schema refuses the value${where}: ${first?.message ?? 'no reason'}`, {
    issues,
  })
}

function pathText(path: StandardIssue['path']): string {
  return (path ?? []).map((step) => String(typeof step === 'object' ? step.key : step)).join('.')
}
