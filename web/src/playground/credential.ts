// Whom the playground calls as: a stored key through the session, or a key that was pasted and is
// kept by this page alone.
import { computed, reactive } from 'vue'
import { api } from '../api/client'
import type { Application, Credential, List, Model } from '../api/types'
import { session } from '../state/session'

export const credential = reactive({
  keys: [] as Credential[],
  loading: false,
  /** A key's id; 'own': the pasted one; null: none yet. */
  chosen: null as number | 'own' | null,
  own: '',
  /** Keys that were made in this page, by id: the only ones whose secret it knows. */
  secrets: {} as Record<number, string>,
  balance: null as number | null,
  models: [] as Model[],
})

export const ready = computed(() =>
  credential.chosen === 'own' ? credential.own.trim() !== '' : credential.chosen !== null)

/** The secret for the code, if this page has it. */
export const secret = computed<string | null>(() => {
  if (credential.chosen === 'own') return credential.own.trim() || null
  return credential.chosen === null ? null : credential.secrets[credential.chosen] ?? null
})

export async function loadBalance(): Promise<void> {
  if (!session.me || !credential.keys.length) return
  const application = await api<Application>('GET', 'application')
  credential.balance = application.remaining_amount
}

export async function loadKeys(): Promise<void> {
  if (!session.me) {
    Object.assign(credential, { keys: [], secrets: {}, balance: null })
    if (credential.chosen !== 'own') credential.chosen = null
    return
  }
  credential.loading = true
  try {
    const { items } = await api<List<Credential>>('GET', 'keys?limit=200')
    credential.keys = items.filter((k) => k.kind === 'calls' && k.state === 'active')
    const there = credential.keys.some((k) => k.id === credential.chosen)
    if (credential.chosen !== 'own' && !there) credential.chosen = credential.keys[0]?.id ?? null
  } finally {
    credential.loading = false
  }
  await loadBalance().catch(() => (credential.balance = null))
}

export async function loadModels(): Promise<void> {
  const { items } = await api<List<Model>>('GET', 'models')
  credential.models = items
}

/** A first key and the free quota; or, where there is an application, what it has. */
export async function acquire(): Promise<Application> {
  const application = await api<Application>('POST', 'acquire', {})
  const made = application.credentials.find((k) => k.token)
  if (made?.token) {
    credential.secrets[made.id] = made.token
    credential.chosen = made.id
  }
  await loadKeys()
  return application
}

/** The way of a call: its path and the headers that say whose it is. */
export function callAs(): { path: string; headers: Record<string, string>; shown: string[] } {
  if (credential.chosen === 'own')
    return {
      path: '/kimi/chat/completions',
      headers: { authorization: `Bearer ${credential.own.trim()}` },
      shown: ['authorization: Bearer ***'],
    }
  const id = String(credential.chosen)
  return {
    path: '/console/api/chat/completions',
    headers: { 'x-moongate-key': id },
    shown: [`x-moongate-key: ${id}`, 'x-csrf-token: ***'],
  }
}
