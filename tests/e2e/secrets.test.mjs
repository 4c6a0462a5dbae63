// Whatever a run writes (its log, its database, a backup, an export, a core) holds no key, no
// token, no password and no cookie; an answer holds one only where it is handed out.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Browser, account, password, someone } from './lib/console.mjs';
import { Server, hello } from './lib/server.mjs';
import { contentOf, isShared } from './lib/stores.mjs';

/** Every file below a folder, as bytes. */
function* files(folder) {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    const stat = statSync(path);
    if (stat.isDirectory()) yield* files(path);
    else if (stat.isFile()) yield [path, readFileSync(path)];
  }
}

describe('secrets', () => {
  it('are in nothing that a run leaves', async () => {
    const smtp = 'smtp-Secret-4711';
    const server = await Server.start({
      set: {
        'log.level': 'debug',
        'quota.list_prices': true,
        'mail.smtp': `smtp://mailer:${smtp}@127.0.0.1:9`,
        'mail.from': 'moongate@example.org',
        'accounts.public_url': 'http://127.0.0.1:1',
      },
    });
    const said = []; // answers that must hold none
    const secrets = new Map([['a password', password]]);
    secrets.set('the mail server’s password', smtp);
    try {
      const key = await server.key({ quota: '1' });
      secrets.set('a key of the command line', key);
      const ann = await someone(server, 'ann@example.org');
      secrets.set('a session', [...ann.cookies.values()][0]);
      const { json: acquired } = await ann.post('/console/api/acquire');
      const first = acquired.credentials[0];
      secrets.set('the first key', first.token);
      const rotated = await ann.post(`/console/api/keys/${first.id}/rotate`);
      secrets.set('a rotated key', rotated.json.token);
      const token = await account(server, 'token', 'ann@example.org');
      secrets.set('a platform token', token);
      const link = await account(server, 'reset', 'ann@example.org');
      secrets.set('a link', /([\w-]{43})$/.exec(link)[1]);

      // Good and bad uses of all of them, in the wrong places, too.
      for (const secret of secrets.values()) {
        for (const path of ['/v1/models', '/api/v1/credentials', `/v1/${encodeURIComponent(secret)}`]) {
          const headers = { authorization: `Bearer ${secret}`, 'x-csrf-token': secret };
          said.push((await server.call('GET', path, { headers })).text);
        }
        const stranger = new Browser(server);
        said.push((await stranger.logIn('ann@example.org', `${secret}x`)).text);
        said.push((await stranger.post('/console/api/reset/finish', { token: `${secret}x`, password: secret })).text);
        said.push((await server.chat(secret, hello)).text);
      }
      said.push((await server.chat(rotated.json.token, hello)).text);
      said.push((await ann.post('/console/api/reset', { email: 'ann@example.org' })).text);
      for (const path of ['keys', 'usage', 'application', 'me', 'settings', 'grants']) {
        const { text } = await ann.get(`/console/api/${path}`);
        said.push(text.replace(/"csrf_token":"[^"]*"/, ''));
      }
      said.push((await server.call('GET', '/metrics')).text);
      for (const args of [['key', 'list', '--json'], ['account', 'list', '--json'], ['ledger', 'verify'],
                          ['ledger', 'export', '--format', 'jsonl']]) {
        const { code, stdout, stderr } = await server.command(...args);
        assert.equal(code, 0, stderr);
        said.push(stdout, stderr);
      }
      const shown = await server.command('config', 'show');
      said.push(shown.stdout, shown.stderr);
      if (!server.env?.MOONGATE_STORE_URL) {
        const copy = await server.command('backup', join(server.data, 'copy.db'));
        assert.equal(copy.code, 0, copy.stderr);
      }
    } finally {
      // A crash that would leave a core where cores are allowed.
      if (server.process) server.process.kill('SIGABRT');
      await server.exit;
      const core = existsSync(join(server.data, 'core'));
      const left = [...files(server.data)];
      if (isShared) left.push(...(await contentOf(server.data)));
      const log = server.log;
      await server.kill();
      assert.ok(!core, 'a core was left');
      assert.ok(left.length > 0 && log.length > 0, 'there is something to look through');
      for (const [what, secret] of secrets) {
        assert.ok(!log.includes(secret), `${what} is in the log`);
        for (const text of said) {
          assert.ok(!text.includes(secret), `${what} is in an answer: ${text.slice(0, 300)}`);
        }
        for (const [path, bytes] of left) {
          assert.ok(!bytes.includes(secret), `${what} is in ${path}`);
        }
      }
    }
  });
});
