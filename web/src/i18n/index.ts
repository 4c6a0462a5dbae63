// The texts in three languages. English is built in, the others are fetched when they are chosen.
import { computed, ref, shallowRef } from 'vue'
import { keep, recall } from '../state/prefs'
import en from './en'

export type Key = keyof typeof en
export type Texts = Record<Key, string>
export type Language = 'en' | 'zh-Hant' | 'zh-Hans'

export const languages: { id: Language; name: string }[] = [
  { id: 'en', name: 'English' },
  { id: 'zh-Hant', name: '繁體中文' },
  { id: 'zh-Hans', name: '简体中文' },
]

const loaders: Record<Exclude<Language, 'en'>, () => Promise<{ default: Texts }>> = {
  'zh-Hant': () => import('./zh-hant'),
  'zh-Hans': () => import('./zh-hans'),
}

/** Taiwan, Hong Kong and Macau write traditional characters unless they say otherwise. */
export function languageOf(tags: readonly string[]): Language {
  for (const tag of tags) {
    const low = tag.toLowerCase()
    if (low.startsWith('en')) return 'en'
    if (!low.startsWith('zh')) continue
    if (low.includes('hans')) return 'zh-Hans'
    return /hant|-tw|-hk|-mo/.test(low) ? 'zh-Hant' : 'zh-Hans'
  }
  return 'en'
}

const texts = shallowRef<Texts>(en)
export const language = ref<Language>('en')

export async function choose(id: Language): Promise<void> {
  texts.value = id === 'en' ? en : (await loaders[id]()).default
  language.value = id
  document.documentElement.lang = id
}

export async function setLanguage(id: Language): Promise<void> {
  await choose(id)
  keep('language', id)
}

export function startLanguage(): Promise<void> {
  const kept = languages.find((l) => l.id === recall('language'))
  return choose(kept?.id ?? languageOf(navigator.languages))
}

export function t(key: Key, values: Record<string, string | number> = {}): string {
  return texts.value[key].replace(/\{(\w+)\}/g, (_, name: string) => String(values[name] ?? ''))
}

/** A text whose key comes from outside, if there is one. */
export function maybe(key: string): string | null {
  return Object.hasOwn(texts.value, key) ? texts.value[key as Key] : null
}

const locale = computed(() =>
  language.value === 'zh-Hant' ? 'zh-TW' : language.value === 'zh-Hans' ? 'zh-CN' : 'en-US')

export const money = (usd: number) =>
  new Intl.NumberFormat(locale.value, {
    style: 'currency', currency: 'USD', currencyDisplay: 'narrowSymbol',
    minimumFractionDigits: 2, maximumFractionDigits: 6,
  }).format(usd)

export const count = (n: number) => new Intl.NumberFormat(locale.value).format(n)

export const compact = (n: number) =>
  new Intl.NumberFormat(locale.value, { notation: 'compact', maximumFractionDigits: 1 }).format(n)

export const moment = (iso: string | null | undefined) =>
  iso ? new Intl.DateTimeFormat(locale.value, { dateStyle: 'medium', timeStyle: 'short' })
    .format(new Date(iso)) : '—'

export const exactMoment = (iso: string) =>
  new Intl.DateTimeFormat(locale.value, { dateStyle: 'medium', timeStyle: 'medium' })
    .format(new Date(iso))

export const day = (iso: string) =>
  new Intl.DateTimeFormat(locale.value, { month: 'short', day: 'numeric', timeZone: 'UTC' })
    .format(new Date(iso))

export const duration = (ms: number) =>
  ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`
