// What the console's endpoints answer. Amounts are USD, times RFC 3339 texts.

export interface List<T> {
  count: number
  items: T[]
}

export interface Settings {
  sign_up: 'closed' | 'invite' | 'open'
  mail: boolean
  oidc: string | null
  password_characters: number
  logged_in: boolean
}

export interface Status {
  version: string
  model: { name: string } | null
  demonstration: boolean
  free_micros?: number
}

export interface Account {
  id: number
  email: string
  name: string
  role: 'admin' | 'user'
  disabled: boolean
  must_change_password: boolean
  has_password: boolean
  has_oidc: boolean
  created_at: string | null
  last_login_at: string | null
}

export interface Me extends Account {
  csrf_token?: string
}

export interface Rates {
  requests_per_minute: number
  tokens_per_minute: number
  concurrent: number
}

export interface AdminAccount extends Account, Rates {
  application_id?: number | null
  balance?: number
  granted?: number
  charged?: number
  application_disabled?: boolean
  one_time_password?: string | null
}

export interface Link {
  token: string
  path: string
  url: string | null
  expires_at: string
  mailed: boolean
}

export type KeyState = 'active' | 'revoked' | 'expired' | 'disabled'

export interface Credential extends Rates {
  id: number
  name: string
  kind: 'calls' | 'platform'
  token: string | null
  prefix: string
  limited_amount: number | null
  used_amount: number
  held_amount: number
  models: string[]
  networks: string[]
  disabled: boolean
  state: KeyState
  created_at: string
  expired_at: string | null
  last_used_at: string | null
}

export interface Application {
  id: number
  remaining_amount: number
  used_amount: number
  granted_amount: number
  held_amount: number
  credentials: Credential[]
  free?: 'granted' | 'had' | 'network_full' | 'none'
}

export interface Grant {
  id: number
  amount: number
  kind: string
  note: string
  created_at: string
  /** The end, if there is one; administrators' lists call it expires_at. */
  expires_at?: string | null
  expired_at?: string | null
}

export interface Call {
  id: number
  credential_id: number
  credential_name: string
  status_code: number
  trace_id: string
  created_at: string
  original_amount: number
  deducted_amount: number
  remaining_amount: number
  route: string
  model: string
  answered: string | null
  backend: string | null
  finish: string
  prompt_tokens: number
  cached_tokens: number
  reasoning_tokens: number
  completion_tokens: number
  source: string
  price_input: number
  price_cached: number
  price_output: number
  queue_ms: number | null
  first_ms: number | null
  total_ms: number | null
  client_gone: boolean
}

export interface Sum {
  time?: string
  model?: string
  credential_id?: number
  credential_name?: string
  calls: number
  failed: number
  prompt_tokens: number
  cached_tokens: number
  completion_tokens: number
  deducted_amount: number
}

export interface Model {
  id: string
  context_length: number
  thinking?: boolean | string
  price_input: number
  price_cached: number
  price_output: number
  max_tokens?: number | null
  backends?: string[]
  demonstration?: boolean
}

export interface Backend {
  name: string
  kind: string
  health: 'closed' | 'open' | 'trial' | 'resting'
  failures: number
  open_for_ms: number
  running: number
  waiting: number
  capacity: number
  runs: number
  failed: number
}

export interface RunningCall {
  trace_id: string
  model: string
  backend: string | null
  key_id: number
  key_name: string
  account_id: number
  route: string
  stream: boolean
  age_ms: number
  phase: string
  prompt_tokens: number
}

export interface Totals extends Sum {
  from: string
  to: string
  charged: number
  items: (Sum & { charged: number; name?: string; account_id?: number })[]
}
