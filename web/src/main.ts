import { createApp } from 'vue'
import App from './App.vue'
import { startLanguage } from './i18n'
import { router } from './router'
import { open } from './state/session'
import './styles/base.css'

await Promise.all([open(), startLanguage()])
createApp(App).use(router).mount('#app')
