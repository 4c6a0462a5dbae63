import { createApp, h } from 'vue'
createApp({ render: () => h('p', 'moongate') }).mount('#app')
