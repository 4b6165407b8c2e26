/** A promise together with what settles it, for those who settle it from elsewhere. */

export class Promised<V> {
  readonly promise: Promise<V>
  resolve: (value: V) => void = () => {}
  reject: (reason: unknown) => void = () => {}

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
  }
}
