// Every page of the console, and a stage on which each has something to show.
import assert from 'node:assert/strict';
import { begin, reply as says } from '../../e2e/lib/dialects.mjs';
import { hello, until } from '../../e2e/lib/server.mjs';
import { equipped, relayStage } from './stage.mjs';

/** Who sees a page: nobody's session, or an administrator's. */
export const pages = [
  { name: 'playground', path: () => '/' },
  { name: 'playground, logged in', path: () => '/', admin: true },
  { name: 'getting started', path: () => '/start' },
  { name: 'log-in', path: () => '/login' },
  { name: 'sign-up', path: () => '/sign-up' },
  { name: 'invitation', path: () => `/sign-up#${'x'.repeat(43)}` },
  { name: 'forgotten password', path: () => '/reset' },
  { name: 'new password', path: () => `/reset#${'x'.repeat(43)}` },
  { name: 'keys', path: () => '/keys', admin: true },
  { name: 'usage', path: () => '/usage', admin: true },
  { name: 'one call', path: (stage) => `/usage/${stage.call.id}`, admin: true },
  { name: 'account', path: () => '/account', admin: true },
  { name: 'accounts', path: () => '/admin/accounts', admin: true },
  { name: 'one account', path: (stage) => `/admin/accounts/${stage.user.id}`, admin: true },
  { name: 'models', path: () => '/admin/models', admin: true },
  { name: 'backends', path: () => '/admin/backends', admin: true },
  { name: 'calls now', path: () => '/admin/calls', admin: true },
];

/** Waits until the page has all that it asked for, and has shown it. */
export async function complete(person) {
  await person.page.getByRole('heading', { level: 1 }).waitFor();
  await person.quiet();
}

const keysOf = (count) =>
  Array.from({ length: count }, (_, i) => ({
    name: `key ${i + 1}`,
    ...(i % 2 ? { models: ['kimi-k2.5'], networks: ['10.0.0.0/8'], limited_amount: '2.5' } : {}),
  }));

/** stage.root, an administrator with keys and calls of all kinds; stage.user; stage.call. */
export function furnished(more = {}) {
  const stage = relayStage(async () => {
    stage.root = await equipped(stage, 'root@example.org', { admin: true });
    stage.user = await equipped(stage, 'user@example.org');
    for (const wish of keysOf(3)) {
      const made = await stage.root.post('/console/api/keys', wish);
      assert.equal(made.status, 201, made.text);
    }
    const chat = (script) => {
      stage.upstream.play(script);
      return stage.server.chat(stage.root.secret, hello);
    };
    await chat(says({ reasoning: ['Hm.'], content: ['Good day'] }));
    await chat((request, wire) => wire.whole(500, '{}'));
    stage.call = await until(async () => {
      const { json } = await stage.root.get('/console/api/usage');
      return json.items.length === 2 && json.items[1];
    }, 'the calls in the usage');
    stage.upstream.play(begin((request, wire) => wire.stall()));
    stage.running = await stage.server.openChat(stage.root.secret, hello);
    stage.running.end.catch(() => {});
  }, more);
  return stage;
}
