/** The context of a sealed session: its names are plain, its values are not. */

import type { AsOf, Session, Stored, Value } from '../index.ts'
import { decodeValue } from '../values.ts'
import type { Place, Seal } from './seal.ts'

type Write = (place: Place, value: unknown, write: (sealed: Uint8Array) => Promise<Stored>) => Promise<Stored>

/** As the context of a plain session, without `append`, which would have to join what is sealed. */
export class SealedContext {
  private readonly plain: Session
  private readonly seal: Seal
  private readonly write: Write

  constructor(plain: Session, seal: Seal, write: Write) {
    this.plain = plain
    this.seal = seal
    this.write = write
  }

  set(name: string, value: unknown): Promise<Stored> {
    return this.write(['context', name], value, (sealed) => this.plain.context.set(name, sealed))
  }

  delete(name: string): Promise<Stored> {
    return this.plain.context.delete(name)
  }

  async get(name: string, options?: AsOf): Promise<Value | undefined> {
    const sealed = await this.plain.context.get(name, options)
    return sealed === undefined ? undefined : this.open(name, sealed)
  }

  async entries(options?: AsOf): Promise<Map<string, Value>> {
    const all = new Map<string, Value>()
    for await (const [name, sealed] of this.plain.context.pages(options)) all.set(name, await this.open(name, sealed))
    return all
  }

  private async open(name: string, sealed: Value): Promise<Value> {
    const { data } = await this.seal.open(sealed instanceof Uint8Array ? sealed : undefined, ['context', name])
    return decodeValue(data)
  }
}
