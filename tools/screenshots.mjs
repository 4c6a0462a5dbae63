// `make screenshots`: the real program with people, keys and calls in it, and a picture of every
// page in Chromium: light in English, dark in traditional and narrow in simplified Chinese.
//   node tools/screenshots.mjs [FOLDER]       (default: docs/screenshots)
import { mkdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { someone } from '../tests/e2e/lib/console.mjs'
import { Server } from '../tests/e2e/lib/server.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const out = process.argv[2] ?? join(root, 'docs/screenshots')
// The browser's driver is a dependency of its tests.
const { chromium } = createRequire(join(root, 'tests/browser/package.json'))('playwright-core')

const looks = [
  { name: 'light', colorScheme: 'light', locale: 'en-US', viewport: { width: 1280, height: 900 } },
  { name: 'dark', colorScheme: 'dark', locale: 'zh-TW', viewport: { width: 1280, height: 900 } },
  { name: 'narrow', colorScheme: 'light', locale: 'zh-CN', viewport: { width: 360, height: 740 } },
]
const questions = ['How do I hold a conversation?', 'What does the server print when it starts?',
  'How do I stream a reply?', '如何取得金鑰?', '怎样停止服务器?', 'What is moongate?']

const price = { price_input: 0.6, price_cached: 0.1, price_output: 2.5 }
const models = ['kimi-k2.6', 'kimi-k2.5', 'kimi-k2-thinking'].map((id) => ({ id, like: id, ...price }))

/** What the pages show: an administrator, a user with keys, calls and grants. */
async function furnish(server) {
  const ada = await someone(server, 'ada@example.org')
  const admin = await someone(server, 'admin@example.org', { admin: true })
  await someone(server, 'lin@example.org')
  await ada.patch('/console/api/me', { name: 'Ada' })
  const { json } = await ada.post('/console/api/acquire')
  const first = json.credentials[0].token
  await admin.post(`/console/api/admin/accounts/${ada.id}/grants`, { amount: '25', note: 'Spring term' })
  const laptop = await ada.post('/console/api/keys',
    { name: 'laptop', models: ['kimi-k2.5'], networks: ['127.0.0.0/8'], limited_amount: '2.50', expires: 90 })
  for (const [i, content] of questions.entries()) {
    const key = i % 3 ? first : laptop.json.token
    const model = i % 3 ? models[i % models.length].id : 'kimi-k2.5'
    await server.chat(key, { model, messages: [{ role: 'user', content }] })
  }
  await server.chat(first, { model: 'kimi-k2.5', messages: [] }) // a mistake
  const { json: usage } = await ada.get('/console/api/usage?limit=2')
  return { ada, admin, call: usage.items[1].id }
}

/** A context that is logged in as `person` (nobody: null). */
async function enter(browser, server, { name: _, ...look }, person) {
  const context = await browser.newContext({ ...look, reducedMotion: 'reduce' })
  if (person)
    await context.addCookies([...person.cookies].map(([name, value]) => ({ name, value, url: server.origin })))
  return context.newPage()
}

async function shoot(page, look, name) {
  await page.waitForLoadState('networkidle')
  await page.screenshot({ path: join(out, `${name}-${look.name}.png`) })
}

async function playground(page, server, look) {
  await page.goto(server.origin)
  await page.locator('option', { hasText: 'laptop' }).waitFor({ state: 'attached' })
  await page.locator('form textarea').first().fill(questions[0])
  await page.locator('form button[type=submit]').click()
  await page.locator('dl.tiles').waitFor()
  if (look.name === 'narrow') await page.locator('section.card').first().scrollIntoViewIfNeeded()
  await shoot(page, look, 'playground')
}

async function visit(browser, server, look, people) {
  const nobody = await enter(browser, server, look, null)
  for (const [name, path] of [['welcome', '/'], ['login', '/login'], ['sign-up', '/sign-up'], ['start', '/start'], ['docs', '/docs']]) {
    await nobody.goto(server.origin + path)
    await shoot(nobody, look, name)
  }
  const ada = await enter(browser, server, look, people.ada)
  await playground(ada, server, look)
  for (const [name, path] of [['keys', '/keys'], ['usage', '/usage'], ['call', `/usage/${people.call}`], ['account', '/account']]) {
    await ada.goto(server.origin + path)
    await shoot(ada, look, name)
  }
  const admin = await enter(browser, server, look, people.admin)
  for (const name of ['accounts', `accounts/${people.ada.id}`, 'models', 'backends', 'calls']) {
    await admin.goto(`${server.origin}/admin/${name}`)
    await admin.locator('section.card').first().waitFor()
    await shoot(admin, look, `admin-${name.replace(/\/.*/, '-one')}`)
  }
  for (const page of [nobody, ada, admin]) await page.context().close()
}

mkdirSync(out, { recursive: true })
const server = await Server.start({ config: JSON.stringify({ models }) })
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
})
try {
  const people = await furnish(server)
  for (const look of looks) await visit(browser, server, look, people)
} finally {
  await browser.close()
  await server.kill()
}
