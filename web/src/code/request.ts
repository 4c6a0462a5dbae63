// What the generators of code share: the request, and how texts are written in a source file.

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json }

export interface CodeRequest {
  /** "http://127.0.0.1:8080" */
  origin: string
  body: { [name: string]: Json }
  stream: boolean
  /** The key itself, where a person asked for it; null: the code reads it from KEY_VARIABLE. */
  key: string | null
}

export const KEY_VARIABLE = 'MOONGATE_API_KEY'
export const PATH = '/kimi/chat/completions'

// Characters that an editor does not show, or that turn the order of others around.
const unseen = /[\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g

const escaped = (c: string) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`

/** Text with what cannot be seen written as JSON's escapes. */
export const visible = (text: string) => text.replace(unseen, escaped)

/** A string as JSON, JavaScript and Python write it, with nothing in it that cannot be seen. */
export const quoted = (s: string) => visible(JSON.stringify(s))

export const pretty = (value: Json) => visible(JSON.stringify(value, null, 2))

/** The same in ASCII alone, for compilers that believe the locale. */
export const prettyAscii = (value: Json) => pretty(value).replace(/[\u0080-\uffff]/g, escaped)

export const indent = (text: string, by: string) => text.replace(/\n/g, `\n${by}`)

export function python(value: Json, by = ''): string {
  const inner = `${by}    `
  if (value === null) return 'None'
  if (value === true) return 'True'
  if (value === false) return 'False'
  if (typeof value === 'number') return String(value)
  if (typeof value === 'string') return quoted(value)
  const parts = Array.isArray(value)
    ? value.map((item) => `${inner}${python(item, inner)},\n`)
    : Object.entries(value).map(([k, v]) => `${inner}${quoted(k)}: ${python(v, inner)},\n`)
  const [open, close] = Array.isArray(value) ? ['[', ']'] : ['{', '}']
  return parts.length ? `${open}\n${parts.join('')}${by}${close}` : open + close
}
