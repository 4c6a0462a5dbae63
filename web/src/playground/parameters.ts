// The optional parameters of a call. Their ranges are those of this server's openapi.json.
import { reactive } from 'vue'
import type { Json } from '../code/request'
import type { Key } from '../i18n'

export interface Parameter {
  name: string
  kind: 'integer' | 'number' | 'lines' | 'choice'
  label: Key
  choices?: readonly string[]
  step?: number
}

export const parameters: readonly Parameter[] = [
  { name: 'max_completion_tokens', kind: 'integer', label: 'param.max_completion_tokens' },
  { name: 'temperature', kind: 'number', label: 'param.temperature', step: 0.1 },
  { name: 'top_p', kind: 'number', label: 'param.top_p', step: 0.05 },
  { name: 'top_k', kind: 'integer', label: 'param.top_k' },
  { name: 'min_p', kind: 'number', label: 'param.min_p', step: 0.05 },
  { name: 'presence_penalty', kind: 'number', label: 'param.presence_penalty', step: 0.1 },
  { name: 'frequency_penalty', kind: 'number', label: 'param.frequency_penalty', step: 0.1 },
  { name: 'seed', kind: 'integer', label: 'param.seed' },
  { name: 'n', kind: 'integer', label: 'param.n' },
  { name: 'thinking', kind: 'choice', label: 'param.thinking', choices: ['enabled', 'disabled'] },
  { name: 'reasoning_effort', kind: 'choice', label: 'param.reasoning_effort',
    choices: ['none', 'low', 'high', 'max'] },
  { name: 'stop', kind: 'lines', label: 'param.stop' },
]

export interface Range {
  minimum?: number
  maximum?: number
}

interface Description {
  components?: { schemas?: { ChatRequest?: { properties?: Record<string, Range> } } }
}

export const ranges = reactive<Record<string, Range>>({})

export async function loadRanges(): Promise<void> {
  const answer = await fetch('/openapi.json')
  const description = (await answer.json()) as Description
  const found = description.components?.schemas?.ChatRequest?.properties ?? {}
  for (const { name } of parameters) {
    const { minimum, maximum } = found[name] ?? {}
    ranges[name] = { minimum, maximum }
  }
}

/** What is written in a field as the request's value; undefined: it is not sent. */
export function valueOf(p: Parameter, text: string): Json | undefined {
  if (text.trim() === '') return undefined
  if (p.name === 'thinking') return { type: text }
  if (p.kind === 'choice') return text
  if (p.kind === 'lines') return text.split('\n').filter((line) => line !== '')
  const n = Number(text)
  return Number.isFinite(n) ? n : undefined
}

export function isOutside(p: Parameter, text: string): boolean {
  if (text.trim() === '' || p.kind === 'choice' || p.kind === 'lines') return false
  const n = Number(text)
  const { minimum = -Infinity, maximum = Infinity } = ranges[p.name] ?? {}
  return !Number.isFinite(n) || n < minimum || n > maximum ||
    (p.kind === 'integer' && !Number.isInteger(n))
}
