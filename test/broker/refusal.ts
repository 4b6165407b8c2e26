/** What a broker said against something, as an error of the test. */

/** What a broker said against something: its code, and the details. */
export class Refusal extends Error {
  readonly code: string
  readonly details: Record<string, unknown>

  constructor(code: string, message: string, details: unknown) {
    super(`${code}: ${message}`)
    this.code = code
    this.details = details as Record<string, unknown>
  }
}
