// /docs: Scalar's API reference over this server's own description. Everything that would speak
// to another host is off.
interface Reference {
  createApiReference(at: string, settings: Record<string, unknown>): void
}

export {}

// Its zod would find out by trial whether the page's policy allows eval.
Object.assign(globalThis, { __zod_globalConfig: { jitless: true } })

// Scalar's colours, where they are too faint for WCAG AA.
const readable = `
.light-mode { --scalar-color-2: #5c5c5c; --scalar-color-3: #6a6a6a; --scalar-color-accent: #0062c4; --scalar-color-green: #00713f; --scalar-color-orange: #a84300; }
.dark-mode { --scalar-color-3: #949494; }`

const address = __SCALAR__
const { createApiReference } = (await import(/* @vite-ignore */ address)) as Reference
createApiReference('#reference', {
  url: '/openapi.json',
  telemetry: false,
  withDefaultFonts: false,
  agent: { disabled: true },
  mcp: { disabled: true },
  showDeveloperTools: 'never',
  hideClientButton: true,
  customCss: readable,
  metaData: { title: 'moongate: the API' },
})
