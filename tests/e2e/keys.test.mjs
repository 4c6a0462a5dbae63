// Keys, made and revoked by the command line beside a server that is running.
import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Server, hello, run, until } from './lib/server.mjs';
import { contentOf, isShared } from './lib/stores.mjs';

const short = { ...hello, max_tokens: 4 };

describe('keys', () => {
  let server;
  before(async () => {
    server = await Server.start();
  });
  after(() => server.stop());

  const list = async () => {
    const { code, stdout, stderr } = await server.command('key', 'list', '--json');
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout);
  };

  it('work at once, also those made while the server runs', async () => {
    const key = await server.key({ name: 'first' });
    assert.equal((await server.chat(key, short)).status, 200);
  });

  it('are shown once and kept as a hash alone', async () => {
    const key = await server.key({ name: 'secret' });
    await server.chat(key, short);
    assert.ok(!(await server.command('key', 'list')).stdout.includes(key));
    const content = await contentOf(server.data);
    assert.ok(content.some(([, bytes]) => bytes.includes('secret')), 'the name is there');
    for (const [what, bytes] of content) assert.ok(!bytes.includes(key.slice(10)), what);
    assert.ok(!server.log.includes(key.slice(10)), 'nor does the log have it');
    if (!isShared) {
      const { mode } = statSync(join(server.data, 'data'));
      assert.equal(mode & 0o077, 0, 'the folder is for its owner alone');
    }
  });

  it('may be for some models alone', async () => {
    const key = await server.key({ name: 'narrow', models: 'kimi-k2.5,kimi-k2.6' });
    assert.equal((await server.chat(key, short)).status, 200);
    for (const path of ['/v1/chat/completions', '/kimi/chat/completions']) {
      const answer = await server.chat(key, { ...short, model: 'kimi-k2-thinking' }, { path });
      assert.equal(answer.status, 400);
      assert.equal(answer.json.error.code, 'token_mismatched');
    }
    const models = await server.call('GET', '/v1/models', { key });
    assert.deepEqual(models.json.data.map((m) => m.id).sort(), ['kimi-k2.5', 'kimi-k2.6']);
  });

  it('may expire', async () => {
    const key = await server.key({ name: 'brief', expires: '2s' });
    const expired = await until(async () => {
      const answer = await server.chat(key, short);
      if (answer.status === 200) return null;
      return answer;
    }, 'the key to expire');
    assert.equal(expired.status, 401);
    assert.equal(expired.json.error.code, 'token_expired');
    assert.equal((await list()).find((row) => row.name === 'brief').state, 'expired');
  });

  it('may be revoked by name and by number while the server runs', async () => {
    for (const by of ['name', 'id']) {
      const name = `gone-${by}`;
      const key = await server.key({ name });
      assert.equal((await server.chat(key, short)).status, 200);
      const row = (await list()).find((r) => r.name === name);
      const { code, stderr } = await server.command('key', 'revoke', String(row[by]));
      assert.equal(code, 0, stderr);
      const answer = await until(async () => {
        const a = await server.chat(key, short);
        return a.status === 401 && a;
      }, 'the key to be refused');
      assert.equal(answer.json.error.code, 'invalid_token');
      assert.equal((await list()).find((r) => r.name === name).state, 'revoked');
    }
  });

  it('are looked up for every call where key_cache is 0', async () => {
    const strict = await Server.start({ set: { 'limits.key_cache': '0' } });
    try {
      const key = await strict.key({ name: 'gone' });
      assert.equal((await strict.chat(key, short)).status, 200);
      const { code, stderr } = await strict.command('key', 'revoke', 'gone');
      assert.equal(code, 0, stderr);
      const answer = await strict.chat(key, short);
      assert.equal(answer.status, 401);
      assert.equal(answer.json.error.code, 'invalid_token');
    } finally {
      await strict.stop();
    }
  });

  it('are refused soon after they are revoked, however often they are used', async () => {
    const key = await server.key({ name: 'busy' });
    assert.equal((await server.chat(key, short)).status, 200);
    await server.command('key', 'revoke', 'busy');
    const refused = async () => (await server.call('GET', '/v1/models', { key })).status === 401;
    await until(refused, 'the busy key to be refused');
  });

  it('tell their last use', async () => {
    const key = await server.key({ name: 'used' });
    const used = async () => (await list()).find((row) => row.name === 'used').last_used;
    assert.equal(await used(), null);
    await server.chat(key, short);
    await until(used, 'the last use to be kept');
  });

  it('are refused with a reason where they cannot be made', async () => {
    for (const args of [
      ['--expires', 'soon'],
      ['--expires', '0s'],
      ['--name', '17'],
      ['--name', 'x'.repeat(1000)],
      ['--models', ','],
      ['--bogus'],
    ]) {
      const { code, stdout, stderr } = await server.command('key', 'create', ...args);
      assert.notEqual(code, 0, args.join(' '));
      assert.equal(stdout, '');
      assert.match(stderr, /^moongate: /);
    }
    const { code, stderr } = await server.command('key', 'revoke', 'nobody');
    assert.notEqual(code, 0);
    assert.match(stderr, /nobody/);
    const none = await run(['key', 'list', '--data', join(server.data, 'nowhere')]);
    assert.notEqual(none.code, 0);
  });

  it('print help', async () => {
    for (const args of [
      ['--help'],
      ['key', '--help'],
      ['key', 'create', '--help'],
      ['serve', '--help'],
    ]) {
      const { code, stdout } = await run(args);
      assert.equal(code, 0, args.join(' '));
      assert.match(stdout, /Usage: moongate/);
    }
    assert.match((await run(['--version'])).stdout, /^moongate \d+\.\d+\.\d+/);
  });
});
