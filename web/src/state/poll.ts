// Fetches again and again while the page is seen.
import { onBeforeUnmount, onMounted } from 'vue'

export function poll(load: () => Promise<void>, everyMs: number): void {
  let timer = 0
  let over = false
  async function turn(): Promise<void> {
    if (document.visibilityState === 'visible') await load()
    if (!over) timer = window.setTimeout(turn, everyMs)
  }
  onMounted(turn)
  onBeforeUnmount(() => {
    over = true
    clearTimeout(timer)
  })
}
