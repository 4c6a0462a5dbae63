// The pages' paths; web/pages.json lists them for the server. Tokens of links stand behind the #,
// so that they are never part of a request.
import { createRouter, createWebHistory, type RouteLocationNormalized, type RouteLocationRaw } from 'vue-router'
import PlaygroundPage from './pages/PlaygroundPage.vue'
import { isAdmin, opened, session } from './state/session'

declare module 'vue-router' {
  interface RouteMeta {
    /** For whom the page is; everybody, if it says nothing. */
    for?: 'account' | 'admin'
  }
}

export const router = createRouter({
  history: createWebHistory(),
  scrollBehavior: (to, from, saved) => saved ?? (to.path === from.path ? false : { top: 0 }),
  routes: [
    { path: '/', name: 'playground', component: PlaygroundPage },
    { path: '/start', name: 'start', component: () => import('./pages/StartPage.vue') },
    { path: '/login', name: 'login', component: () => import('./pages/LoginPage.vue') },
    { path: '/sign-up', name: 'sign_up', component: () => import('./pages/SignUpPage.vue') },
    { path: '/reset', name: 'reset', component: () => import('./pages/ResetPage.vue') },
    { path: '/keys', name: 'keys', component: () => import('./pages/KeysPage.vue'), meta: { for: 'account' } },
    { path: '/usage', name: 'usage', component: () => import('./pages/UsagePage.vue'), meta: { for: 'account' } },
    { path: '/usage/:id', name: 'call', component: () => import('./pages/CallPage.vue'), meta: { for: 'account' } },
    { path: '/account', name: 'account', component: () => import('./pages/AccountPage.vue'), meta: { for: 'account' } },
    { path: '/admin', redirect: '/admin/accounts' },
    { path: '/admin', component: () => import('./pages/AdminPage.vue'), meta: { for: 'admin' }, children: [
      { path: 'accounts', name: 'admin_accounts', component: () => import('./pages/AdminAccounts.vue') },
      { path: 'accounts/:id', name: 'admin_account', component: () => import('./pages/AdminAccount.vue') },
      { path: 'models', name: 'admin_models', component: () => import('./pages/AdminModels.vue') },
      { path: 'backends', name: 'admin_backends', component: () => import('./pages/AdminBackends.vue') },
      { path: 'calls', name: 'admin_calls', component: () => import('./pages/AdminCalls.vue') },
    ] },
    { path: '/:rest(.*)*', redirect: '/' },
  ],
})

/** Links in mails read /#/reset/TOKEN. */
function fromMail(to: RouteLocationNormalized): RouteLocationRaw | null {
  const [, page, token] = /^#\/(sign-up|reset)\/([\w-]+)$/.exec(to.hash) ?? []
  return page && token ? { path: `/${page}`, hash: `#${token}`, replace: true } : null
}

router.beforeEach(async (to) => {
  const link = fromMail(to)
  if (link) return link
  if (to.name !== 'playground' && to.name !== 'start') await opened()
  const wants = to.matched.map((r) => r.meta.for).find(Boolean)
  if (session.me?.must_change_password && to.path !== '/account') return { path: '/account' }
  if (wants && !session.me) return { path: '/login', query: { next: to.fullPath } }
  if (wants === 'admin' && !isAdmin.value) return { path: '/' }
  return true
})

session.onEnd = () => {
  const here = router.currentRoute.value
  if (here.matched.some((r) => r.meta.for)) void router.push({ path: '/login', query: { next: here.fullPath } })
}
