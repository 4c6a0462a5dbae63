// The request as it stands in the form: the model, conversations, parameters. It outlives a
// reload of the tab and ends with the session.
import { computed, reactive, watch } from 'vue'
import type { Json } from '../code/request'
import { parameters, valueOf } from './parameters'

export type Role = 'system' | 'user' | 'assistant'
export const roles: readonly Role[] = ['system', 'user', 'assistant']

export interface Message {
  id: number
  role: Role
  content: string
}

export interface Branch {
  id: number
  messages: Message[]
}

const STORE = 'moongate.playground'
const KEPT_CHARS = 1_000_000

let lastId = 0
const nextId = () => ++lastId
const message = (role: Role, content: string): Message => ({ id: nextId(), role, content })

function fresh() {
  const branch: Branch = { id: nextId(), messages: [message('user', 'Hello')] }
  return {
    model: 'kimi-k2.5',
    stream: true,
    branches: [branch],
    branch: branch.id,
    values: {} as Record<string, string>,
    extra: '',
  }
}

function stored(): ReturnType<typeof fresh> | null {
  try {
    const value = JSON.parse(sessionStorage.getItem(STORE) ?? 'null') as ReturnType<typeof fresh> | null
    if (!value) return null
    const ids = value.branches.flatMap((b) => [b.id, ...b.messages.map((m) => m.id)])
    lastId = Math.max(0, ...ids)
    return value
  } catch {
    return null
  }
}

export const form = reactive(stored() ?? fresh())

let timer = 0
watch(form, () => {
  clearTimeout(timer)
  timer = window.setTimeout(() => {
    const text = JSON.stringify(form)
    try {
      if (text.length < KEPT_CHARS) sessionStorage.setItem(STORE, text)
    } catch {
      // No room: the form lasts as long as the page.
    }
  }, 400)
})

export function clearForm(): void {
  Object.assign(form, fresh())
}

export const branch = computed<Branch>(
  () => form.branches.find((b) => b.id === form.branch) ?? (form.branches[0] as Branch))

export const messages = computed(() => branch.value.messages)

export function addMessage(role?: Role, content = ''): Message {
  const last = messages.value.at(-1)?.role
  const made = message(role ?? (last === 'user' ? 'assistant' : 'user'), content)
  messages.value.push(made)
  return made
}

export function removeMessage(i: number): void {
  messages.value.splice(i, 1)
}

export function moveMessage(i: number, by: number): void {
  const [moved] = messages.value.splice(i, 1)
  if (moved) messages.value.splice(i + by, 0, moved)
}

/** Another conversation that begins as this one does, up to the i-th message. */
export function branchAt(i: number): void {
  const copies = messages.value.slice(0, i + 1).map((m) => message(m.role, m.content))
  const made: Branch = { id: nextId(), messages: copies }
  form.branches.push(made)
  form.branch = made.id
}

export function newBranch(): void {
  const made: Branch = { id: nextId(), messages: [message('user', '')] }
  form.branches.push(made)
  form.branch = made.id
}

export function dropBranch(): void {
  const i = form.branches.findIndex((b) => b.id === form.branch)
  form.branches.splice(i, 1)
  if (!form.branches.length) newBranch()
  form.branch = (form.branches[Math.max(0, i - 1)] as Branch).id
}

/** The field for what has no field of its own: a JSON object, or why it is none. */
export const extra = computed<{ value: Record<string, Json>; bad: boolean }>(() => {
  if (form.extra.trim() === '') return { value: {}, bad: false }
  try {
    const value = JSON.parse(form.extra) as Json
    if (typeof value === 'object' && value && !Array.isArray(value)) return { value, bad: false }
  } catch {
    // said by `bad`
  }
  return { value: {}, bad: true }
})

export const body = computed<Record<string, Json>>(() => {
  const out: Record<string, Json> = {
    model: form.model,
    messages: messages.value.map(({ role, content }) => ({ role, content })),
  }
  if (form.stream) out.stream = true
  for (const p of parameters) {
    const value = valueOf(p, form.values[p.name] ?? '')
    if (value !== undefined) out[p.name] = value
  }
  return { ...out, ...extra.value.value }
})

/** Whether the reply comes as a stream: `extra` may say otherwise than the switch. */
export const streams = computed(() => body.value.stream === true)
