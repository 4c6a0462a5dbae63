// Reads the events of a stream: calls `event` with the data of each as it comes, and `raw` with
// all text. True: the end was told ("[DONE]").

export async function readEvents(
  bytes: ReadableStream<Uint8Array>,
  raw: (text: string) => void,
  event: (data: string) => void,
): Promise<boolean> {
  const reader = bytes.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>)
    .getReader()
  let rest = ''
  let done = false
  for (;;) {
    const { value, done: over } = await reader.read()
    if (over) return done
    raw(value)
    const lines = (rest + value).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      if (!line.startsWith('data:')) continue
      const data = line.slice('data:'.length).trim()
      if (data === '[DONE]') done = true
      else event(data)
    }
  }
}
