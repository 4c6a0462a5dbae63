// One call from the playground: sends the request of the form, reads the reply as it comes, and
// finds out what it cost. What came is shown once a frame, so that a fast stream does not keep
// the page from painting.
import { reactive, readonly } from 'vue'
import { api, asFault, Fault, faultOf, hooks, query } from '../api/client'
import type { Call, List } from '../api/types'
import { body, streams } from './form'
import { callAs, credential, loadBalance } from './credential'
import { hasText, noReply, take, type Body, type Reply } from './reply'
import { readEvents } from './sse'

const RAW_CHARS = 4_000_000
const FRAME_MS = 250 // in a tab that is not seen there are no frames
const BOOK_TRIES = 4
const BOOK_WAIT_MS = 350

const shown = reactive<Reply>(noReply())
export const reply = readonly(shown) as Readonly<Reply>
export const isRunning = () => ['waiting', 'thinking', 'writing'].includes(shown.state)

let control: AbortController | null = null

export function stop(): void {
  control?.abort()
}

export function clearReply(): void {
  stop()
  Object.assign(shown, noReply())
}

/** Gathers what came between two frames. */
class Painter {
  private bodies: Body[] = []
  private raw = ''
  private timer = 0
  private frame = 0

  add(body: Body): void {
    this.bodies.push(body)
    this.ask()
  }

  addRaw(text: string): void {
    this.raw += text
    this.ask()
  }

  private ask(): void {
    if (this.timer) return
    this.timer = window.setTimeout(() => this.paint(), FRAME_MS)
    this.frame = requestAnimationFrame(() => this.paint())
  }

  paint(): void {
    clearTimeout(this.timer)
    cancelAnimationFrame(this.frame)
    this.timer = 0
    for (const body of this.bodies) take(shown, body)
    this.bodies = []
    if (shown.response.length < RAW_CHARS) shown.response += this.raw
    else shown.cut = true
    this.raw = ''
    const choice = shown.choices[0]
    if (isRunning() && choice) shown.state = choice.content || choice.tools ? 'writing' : choice.reasoning ? 'thinking' : 'waiting'
  }
}

function rawHead(answer: Response): string {
  const fields = [...answer.headers].map(([name, value]) => `${name}: ${value}\n`).join('')
  return `HTTP/1.1 ${answer.status} ${answer.statusText}\n${fields}\n`
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

async function readStream(answer: Response, painter: Painter, started: number): Promise<void> {
  let fault: Fault | null = null
  const done = await readEvents(answer.body as ReadableStream<Uint8Array>,
    (text) => painter.addRaw(text),
    (data) => {
      const event = parsed(data) as (Body & { error?: unknown }) | null
      if (!event) return
      if (event.error) fault = faultOf(answer.status, answer.headers, event)
      if (shown.firstMs === null && hasText(event)) shown.firstMs = performance.now() - started
      painter.add(event)
    })
  if (fault) throw fault
  if (!done) throw new Fault(answer.status, 'cut', '', null, shown.traceId)
}

async function readWhole(answer: Response, painter: Painter): Promise<void> {
  const text = await answer.text()
  painter.addRaw(text)
  const value = parsed(text)
  if (!answer.ok) throw faultOf(answer.status, answer.headers, value)
  if (!value) throw new Fault(answer.status, 'unreadable', '', null, shown.traceId)
  painter.add(value as Body)
}

/** The call's row in the books; a stopped call is written a moment after it ended. */
async function bookOf(traceId: string): Promise<Call | null> {
  for (let i = 0; i < BOOK_TRIES; i++) {
    const { items } = await api<List<Call>>('GET', `usage${query({ trace_id: traceId, limit: 1 })}`)
    if (items[0]) return items[0]
    await new Promise((resolve) => setTimeout(resolve, BOOK_WAIT_MS))
  }
  return null
}

function priced(model: string): number | null {
  const price = credential.models.find((m) => m.id === model)
  const usage = shown.usage
  if (!price || !usage) return null
  const cached = usage.cached_tokens ?? 0
  return ((usage.prompt_tokens - cached) * price.price_input + cached * price.price_cached +
    usage.completion_tokens * price.price_output) / 1e6
}

async function settle(own: string | null): Promise<void> {
  if (own !== null) {
    shown.cost = priced(shown.model)
    const answer = await fetch('/v1/users/me/balance', { headers: { authorization: `Bearer ${own}` } })
    if (!answer.ok) return
    const { data } = (await answer.json()) as { data?: { available_balance?: number } }
    shown.balance = data?.available_balance ?? null
    return
  }
  const row = shown.traceId ? await bookOf(shown.traceId) : null
  if (row) {
    shown.cost = row.deducted_amount
    shown.balance = row.remaining_amount
    if (!shown.usage)
      shown.usage = {
        prompt_tokens: row.prompt_tokens, completion_tokens: row.completion_tokens,
        total_tokens: row.prompt_tokens + row.completion_tokens, cached_tokens: row.cached_tokens,
      }
  }
  await loadBalance()
}

export async function run(): Promise<void> {
  if (isRunning()) return
  const as = callAs()
  const own = credential.chosen === 'own' ? credential.own.trim() : null
  const text = JSON.stringify(body.value, null, 2)
  const painter = new Painter()
  const mine = (control = new AbortController())
  Object.assign(shown, noReply(), {
    state: 'waiting', model: String(body.value.model),
    request: `POST ${as.path} HTTP/1.1\nhost: ${location.host}\n${as.shown.join('\n')}\ncontent-type: application/json\n\n${text}`,
  })
  const started = performance.now()
  try {
    const answer = await fetch(as.path, {
      method: 'POST',
      headers: { ...as.headers, 'content-type': 'application/json',
        ...(own === null ? { 'x-csrf-token': hooks.csrf } : {}) },
      body: text,
      credentials: own === null ? 'same-origin' : 'omit',
      signal: mine.signal,
    })
    shown.traceId = answer.headers.get('x-trace-id')
    painter.addRaw(rawHead(answer))
    const isStream = answer.headers.get('content-type')?.startsWith('text/event-stream')
    if (answer.ok && streams.value && isStream) await readStream(answer, painter, started)
    else await readWhole(answer, painter)
    painter.paint()
    shown.state = 'done'
  } catch (e) {
    painter.paint()
    shown.state = mine.signal.aborted ? 'stopped' : 'failed'
    if (!mine.signal.aborted) shown.fault = asFault(e)
  }
  shown.totalMs = performance.now() - started
  await settle(own).catch(() => {})
}
