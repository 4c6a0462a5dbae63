import { createApp } from 'vue'
import App from './App.vue'
import { startLanguage } from './i18n'
import { router } from './router'
import { opened } from './state/session'
import './styles/base.css'

void opened()
await startLanguage()
createApp(App).use(router).mount('#app')
