// A value that is fetched: what it is, whether it is awaited, why it is not there. An answer that
// was overtaken by a later one is left out.
import { reactive } from 'vue'
import { asFault, type Fault } from '../api/client'

export interface Loaded<T> {
  value: T | null
  busy: boolean
  fault: Fault | null
  load: () => Promise<void>
}

export function loaded<T>(get: () => Promise<T>): Loaded<T> {
  let turn = 0
  const state = reactive({ value: null, busy: false, fault: null, load }) as unknown as Loaded<T>
  async function load(): Promise<void> {
    const mine = ++turn
    state.busy = true
    try {
      const value = await get()
      if (mine !== turn) return
      state.value = value
      state.fault = null
    } catch (e) {
      if (mine === turn) state.fault = asFault(e)
    } finally {
      if (mine === turn) state.busy = false
    }
  }
  return state
}

/** Something that a person does: one at a time, with its failure. */
export function action() {
  const state = reactive({ busy: false, fault: null as Fault | null, done: false, run })
  async function run(work: () => Promise<void>): Promise<void> {
    if (state.busy) return
    Object.assign(state, { busy: true, fault: null, done: false })
    try {
      await work()
      state.done = true
    } catch (e) {
      state.fault = asFault(e)
    } finally {
      state.busy = false
    }
  }
  return state
}
