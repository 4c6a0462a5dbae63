import vue from '@vitejs/plugin-vue'
import { defineConfig } from 'vite'
import settings from './package.json'

// Two pages: the console, and /docs, which loads Scalar's own build from beside it.
export default defineConfig({
  plugins: [vue()],
  define: {
    __SCALAR__: JSON.stringify(`/assets/scalar-${settings.config.scalar_version}/standalone.esm.js`),
    __VUE_OPTIONS_API__: 'false',
  },
  build: {
    outDir: 'dist/site',
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rollupOptions: {
      input: ['index.html', 'docs.html'],
      // What every page needs in two files, so that a page is not a dozen requests.
      output: {
        manualChunks: (id) =>
          /node_modules\/(@vue|vue|vue-router)\/|plugin-vue:export-helper/.test(id) ? 'vue'
          : /src\/(api|state|i18n\/(index|en)\.ts|components\/(CopyButton|FaultNote|KeyShown|LongText|ModalBox|TabList))/.test(id) ? 'shared'
          : undefined,
      },
    },
  },
  server: { proxy: { '^/(kimi|v1|console/api|api|openapi.json)': 'http://127.0.0.1:8080' } },
})
