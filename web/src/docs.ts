// /docs: Scalar's API reference over this server's own description. Everything that would speak
// to another host is off.
interface Reference {
  createApiReference(at: string, settings: Record<string, unknown>): void
}

export {}

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
