// A reply as it grows: choices put together from whole answers or from a stream's chunks.
import type { Fault } from '../api/client'

export interface Choice {
  reasoning: string
  content: string
  tools: string
  finish: string | null
}

export interface Usage {
  prompt_tokens: number
  completion_tokens: number
  total_tokens: number
  cached_tokens?: number
  completion_tokens_details?: { reasoning_tokens?: number }
}

export type State = 'idle' | 'waiting' | 'thinking' | 'writing' | 'done' | 'stopped' | 'failed'

export interface Reply {
  state: State
  choices: Choice[]
  usage: Usage | null
  /** What answered, as its fingerprint tells. */
  answered: string | null
  model: string
  traceId: string | null
  firstMs: number | null
  totalMs: number | null
  cost: number | null
  balance: number | null
  fault: Fault | null
  request: string
  response: string
  cut: boolean
}

export const noReply = (): Reply => ({
  state: 'idle', choices: [], usage: null, answered: null, model: '', traceId: null, firstMs: null,
  totalMs: null, cost: null, balance: null, fault: null, request: '', response: '', cut: false,
})

interface Part {
  content?: string | null
  reasoning_content?: string | null
  reasoning?: string | null
  tool_calls?: unknown[]
}

export interface Body {
  model?: string
  system_fingerprint?: string | null
  usage?: Usage | null
  choices?: { index?: number; delta?: Part; message?: Part; finish_reason?: string | null }[]
}

function choiceAt(reply: Reply, i: number): Choice {
  while (reply.choices.length <= i)
    reply.choices.push({ reasoning: '', content: '', tools: '', finish: null })
  return reply.choices[i] as Choice
}

/** Adds a chunk, or a whole answer, which is one large chunk. */
export function take(reply: Reply, body: Body): void {
  if (body.usage) reply.usage = body.usage
  if (body.model) reply.model = body.model
  if (body.system_fingerprint) reply.answered = body.system_fingerprint
  for (const part of body.choices ?? []) {
    const choice = choiceAt(reply, part.index ?? 0)
    const text = part.delta ?? part.message ?? {}
    choice.reasoning += text.reasoning_content ?? text.reasoning ?? ''
    choice.content += text.content ?? ''
    if (text.tool_calls?.length) choice.tools += `${JSON.stringify(text.tool_calls, null, 2)}\n`
    if (part.finish_reason) choice.finish = part.finish_reason
  }
}

export const hasText = (body: Body) =>
  (body.choices ?? []).some(({ delta }) =>
    delta?.content || delta?.reasoning_content || delta?.reasoning || delta?.tool_calls?.length)
