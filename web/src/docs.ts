// /docs: Scalar's API reference over this server's own description. Everything that would speak
// to another host is off.
interface Reference {
  createApiReference(at: string, settings: Record<string, unknown>): void
}

export {}

// Its zod would find out by trial whether the page's policy allows eval.
Object.assign(globalThis, { __zod_globalConfig: { jitless: true } })

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
  metaData: { title: 'moongate: the API' },
})
