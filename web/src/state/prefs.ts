// What a person chose for this browser: appearance. Kept in localStorage, where there is one.
import { ref, watchEffect } from 'vue'

export type Theme = 'auto' | 'light' | 'dark'

export function recall(name: string): string | null {
  try {
    return localStorage.getItem(`moongate.${name}`)
  } catch {
    return null
  }
}

export function keep(name: string, value: string): void {
  try {
    localStorage.setItem(`moongate.${name}`, value)
  } catch {
    // A browser that keeps nothing: the choice lasts as long as the page.
  }
}

const stored = recall('theme')
export const theme = ref<Theme>(stored === 'light' || stored === 'dark' ? stored : 'auto')

watchEffect(() => {
  document.documentElement.dataset.theme = theme.value
  keep('theme', theme.value)
})
