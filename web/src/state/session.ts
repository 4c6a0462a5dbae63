// Who is logged in, in this tab and, by a broadcast, in the others of this browser.
import { computed, reactive } from 'vue'
import { api, hooks } from '../api/client'
import type { Me, Settings, Status } from '../api/types'

export const session = reactive({
  /** Whether it is known yet. */
  ready: false,
  me: null as Me | null,
  settings: null as Settings | null,
  status: null as Status | null,
  /** Where to go when the session ends: set by the router. */
  onEnd: () => {},
})

export const isAdmin = computed(() => session.me?.role === 'admin')

const tabs = 'BroadcastChannel' in window ? new BroadcastChannel('moongate.session') : null

export function enter(me: Me, tell = true): void {
  session.me = me
  hooks.csrf = me.csrf_token ?? ''
  if (tell) tabs?.postMessage('in')
}

function leave(): void {
  const was = session.me
  session.me = null
  hooks.csrf = ''
  sessionStorage.clear() // the conversation was that account's
  if (was) session.onEnd()
}

hooks.onLoggedOut = leave

export async function refresh(): Promise<void> {
  session.settings = await api<Settings>('GET', 'settings')
  if (session.settings.logged_in) enter(await api<Me>('GET', 'me'), false)
  else leave()
}

/** At the start of the page; what needs an account waits for it. Without its endpoints the console still shows the playground. */
async function open(): Promise<void> {
  api<Status>('GET', 'status').then(
    (status) => (session.status = status),
    () => (session.status = null),
  )
  await refresh().catch(() => {})
  session.ready = true
}

let opening: Promise<void> | null = null
export const opened = (): Promise<void> => (opening ??= open())

export async function logOut(everywhere = false): Promise<void> {
  if (everywhere) await api('POST', 'log-out-everywhere', {})
  else await api('POST', 'log-out')
  tabs?.postMessage('out')
  leave()
}

tabs?.addEventListener('message', (event: MessageEvent<unknown>) => {
  if (event.data === 'out') leave()
  else void refresh().catch(() => {})
})
