/** Streams of text that a test feeds, and that it reads piece by piece. */

export class Feed {
  readonly readable: ReadableStream<string>
  private controller: ReadableStreamDefaultController<string> | null = null

  constructor() {
    this.readable = new ReadableStream<string>({
      start: (controller) => {
        this.controller = controller
      },
    })
  }

  write(...pieces: string[]): void {
    for (const piece of pieces) this.controller?.enqueue(piece)
  }

  end(): void {
    this.controller?.close()
  }
}

/** All that is left of it. */
export async function textOf(stream: ReadableStream<string> | null | undefined): Promise<string> {
  if (stream == null) throw new Error(`there is no stream: ${stream}`)
  let text = ''
  for await (const piece of stream) text += piece
  return text
}

/** Reads until it has so many characters; the stream stays open. */
export async function readSome(stream: ReadableStream<string>, length: number): Promise<string> {
  const reader = stream.getReader()
  let text = ''
  while (text.length < length) {
    const { done, value } = await reader.read()
    if (done) throw new Error(`the stream ended after ${JSON.stringify(text)}`)
    text += value
  }
  reader.releaseLock()
  return text
}
