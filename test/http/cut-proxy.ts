/** A proxy between a reader and the broker, whose connections a test breaks: at once, or behind a number of bytes. */

import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { afterwards } from '../broker/brokers.ts'

export class CutProxy {
  readonly url: string
  /** The port that the next connections go to. */
  target: number
  /** How often a reader has connected. */
  opened = 0
  private readonly open = new Set<Socket>()
  /** What may still go down before all connections are broken. */
  private leftBytes = Number.POSITIVE_INFINITY
  /** How often connections were broken. */
  cuts = 0

  private constructor(port: number, target: number) {
    this.url = `http://127.0.0.1:${port}`
    this.target = target
  }

  /** In front of the port. Closed behind the test. */
  static async start(target: number): Promise<CutProxy> {
    const server = createServer((socket) => proxy.accept(socket))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const proxy = new CutProxy((server.address() as AddressInfo).port, target)
    afterwards(async () => {
      server.close()
      proxy.drop()
    })
    return proxy
  }

  /** Breaks all connections when so many more bytes have gone to readers, wherever that is in an event. */
  cutAfter(bytes: number): void {
    this.leftBytes = bytes
  }

  /** Breaks all connections now. */
  cut(): void {
    this.cuts++
    this.drop()
  }

  private drop(): void {
    this.leftBytes = Number.POSITIVE_INFINITY
    for (const socket of this.open) socket.resetAndDestroy()
    this.open.clear()
  }

  private accept(down: Socket): void {
    this.opened++
    const up = connect(this.target, '127.0.0.1')
    for (const socket of [down, up]) {
      this.open.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        this.open.delete(socket)
        up.destroy()
        down.destroy()
      })
    }
    down.pipe(up)
    up.on('data', (bytes) => {
      if (bytes.length < this.leftBytes) {
        this.leftBytes -= bytes.length
        down.write(bytes)
        return
      }
      down.write(bytes.subarray(0, this.leftBytes), () => this.cut())
      this.leftBytes = 0
    })
    up.on('end', () => down.end())
  }
}
