/** A frame `[type, bytes]` that is gathered while the loop runs: acknowledgements or deliveries, packed one behind the other. */

import { ByteWriter, type DOWN } from '../../protocol/index.ts'

/** `[type, bytes]` as msgpack: a list of two, the type, and the length of the bytes in four bytes. */
const HEADER_BYTES = 7
/** What it begins with: V8 keeps arrays as small as this in its own heap, and most connections never need more. */
const FIRST_BYTES = 64
/** What it keeps while its connection is idle. */
const KEPT_BYTES = 4096
/** One that has grown beyond this is given back when its frame is complete. */
const LARGE_BYTES = 128 * 1024

export class PackedFrame {
  /** Where its contents are written to. */
  readonly out = new ByteWriter(FIRST_BYTES)
  private readonly type: number

  constructor(type: typeof DOWN.ack | typeof DOWN.deliver) {
    this.type = type
    this.out.length = HEADER_BYTES
  }

  get empty(): boolean {
    return this.out.length === HEADER_BYTES
  }

  /** The frame, copied out of the writer, which is emptied. */
  seal(): Uint8Array {
    const { out } = this
    const frame = Buffer.from(out.view())
    frame[0] = 0x92
    frame[1] = this.type
    frame[2] = 0xc6
    frame.writeUInt32BE(out.length - HEADER_BYTES, 3)
    out.length = HEADER_BYTES
    // As its reader may not read on for long, it keeps no room for as much again.
    if (out.bytes.length > LARGE_BYTES) this.shrink()
    return frame
  }

  /** Gives the memory of a burst back. */
  shrink(): void {
    if (this.empty && this.out.bytes.length > KEPT_BYTES) this.out.bytes = new Uint8Array(KEPT_BYTES)
  }
}
