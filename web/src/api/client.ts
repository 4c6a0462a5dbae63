// Calls to the console's endpoints: one function, one kind of error.

export class Fault extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly param: string | null = null,
    readonly traceId: string | null = null,
    readonly retryAfterS: number | null = null,
  ) {
    super(message)
  }
}

interface FaultBody {
  error?: { code?: unknown; message?: unknown; param?: unknown }
  trace_id?: unknown
}

const text = (value: unknown) => (typeof value === 'string' ? value : null)

/** For an answer that is none of ours: a proxy's page, say. */
function codeOf(status: number): string {
  if (status === 504) return 'timeout'
  return status >= 500 ? 'api_error' : 'unreadable'
}

/** The error that an answer's body tells; any body will do. */
export function faultOf(status: number, headers: Headers, body: unknown): Fault {
  const b = (typeof body === 'object' && body !== null ? body : {}) as FaultBody
  const retry = Number(headers.get('retry-after'))
  return new Fault(
    status,
    text(b.error?.code) ?? codeOf(status),
    text(b.error?.message) ?? '',
    text(b.error?.param),
    text(b.trace_id) ?? headers.get('x-trace-id'),
    Number.isFinite(retry) && retry > 0 ? retry : null,
  )
}

export function asFault(e: unknown): Fault {
  if (e instanceof Fault) return e
  return new Fault(0, 'unreachable', e instanceof Error ? e.message : String(e))
}

/** Set by the session: its token against cross-site requests, and what a lost session means. */
export const hooks = { csrf: '', onLoggedOut: () => {} }

export async function api<T>(method: string, path: string, body?: object): Promise<T> {
  const headers: Record<string, string> = { accept: 'application/json' }
  if (method !== 'GET') headers['x-csrf-token'] = hooks.csrf
  if (body) headers['content-type'] = 'application/json'
  const answer = await fetch(`/console/api/${path}`, {
    method,
    headers,
    body: body && JSON.stringify(body),
    credentials: 'same-origin',
    cache: 'no-store',
  })
  const raw = await answer.text()
  let value: unknown = null
  try {
    value = raw ? JSON.parse(raw) : null
  } catch {
    if (answer.ok) throw new Fault(answer.status, 'unreadable', '')
  }
  if (answer.ok) return value as T
  const fault = faultOf(answer.status, answer.headers, value)
  if (answer.status === 401 && hooks.csrf) hooks.onLoggedOut()
  throw fault
}

export function query(values: Record<string, string | number | null | undefined>): string {
  const q = new URLSearchParams()
  for (const [name, value] of Object.entries(values))
    if (value !== '' && value !== null && value !== undefined) q.set(name, String(value))
  const s = q.toString()
  return s ? `?${s}` : ''
}
