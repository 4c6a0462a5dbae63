// The playground's calls by a stored key of a session, and what administrators see of what runs.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { someone } from './lib/console.mjs';
import { Server, endless, hello, until } from './lib/server.mjs';
import { alone } from './lib/stores.mjs';

const chat = '/console/api/chat/completions';

describe('the playground', () => {
  let server, ann, bob, root, key;

  before(async () => {
    server = await Server.start({ set: { 'quota.list_prices': true, 'engine.kv_tokens': 8192 } });
    ann = await someone(server, 'ann@example.org');
    bob = await someone(server, 'bob@example.org');
    root = await someone(server, 'root@example.org', { admin: true });
    const acquired = await ann.post('/console/api/acquire');
    assert.equal(acquired.status, 201, acquired.text);
    [key] = acquired.json.credentials;
  });
  after(() => server.stop());

  const ask = (who, body, id = key.id, headers = {}) =>
    who.post(chat, body, { headers: { 'x-moongate-key': String(id), ...headers } });

  it('answers by a stored key, which is charged', async () => {
    const whole = await ask(ann, hello);
    assert.equal(whole.status, 200, whole.text);
    assert.ok(whole.json.choices[0].message.content.length > 0);
    assert.equal(whole.headers['access-control-allow-origin'], undefined);
    const { json } = await ann.get('/console/api/usage');
    assert.equal(json.items[0].trace_id, whole.headers['x-trace-id']);
    assert.equal(json.items[0].route, 'playground');
    const { prompt_tokens: prompt, completion_tokens: completion } = whole.json.usage;
    const cost = Math.ceil(prompt * 0.6 + completion * 3) / 1e6;
    assert.ok(Math.abs(json.items[0].deducted_amount - cost) < 1e-9);
  });

  it('streams as /kimi does, with usage at the end', async () => {
    const { status, text } = await ask(ann, { ...hello, stream: true });
    assert.equal(status, 200);
    const events = text.split('\n\n').filter(Boolean);
    assert.equal(events.at(-1), 'data: [DONE]');
    assert.ok(JSON.parse(events.at(-2).slice(6)).usage.completion_tokens > 0);
  });

  it('has no key of another account', async () => {
    const foreign = await ask(bob, hello);
    assert.equal(foreign.status, 404);
    assert.equal(foreign.json.error.code, 'not_found');
  });

  it('wants a key by its number, a session, and its token', async () => {
    for (const id of ['', 'x', '-1', '1 OR 1=1', '9'.repeat(40)]) {
      assert.equal((await ask(ann, hello, id)).status, 400, id);
    }
    assert.equal((await ask(ann, hello, key.id, { cookie: undefined })).status, 401);
    assert.equal((await ask(ann, hello, key.id, { 'x-csrf-token': undefined })).status, 403);
    const other = { origin: 'https://elsewhere.example' };
    assert.equal((await ask(ann, hello, key.id, other)).status, 403);
  });

  it('refuses a revoked key, a wrong body and an unknown model as the API does', async () => {
    const made = await ann.post('/console/api/keys', { name: 'gone' });
    assert.equal((await ann.send('DELETE', `/console/api/keys/${made.json.id}`)).status, 204);
    assert.equal((await ask(ann, hello, made.json.id)).status, 401);
    assert.equal((await ask(ann, '{')).status, 400);
    const unknown = await ask(ann, { ...hello, model: 'kimi-k9' });
    assert.equal(unknown.json.error.code, 'bad_request');
  });

  it('shows an administrator what runs, who may end it', alone, async () => {
    const running = ask(ann, { ...endless(1500), stream: true });
    const call = await until(async () => {
      const { json } = await root.get('/console/api/admin/calls');
      return json.items.find((c) => c.key_id === key.id && c.phase === 'replying');
    }, 'the call to reply');
    assert.equal(call.model, hello.model);
    assert.equal(call.backend, 'local');
    assert.equal((await ann.get('/console/api/admin/calls')).status, 403);
    assert.equal((await ann.send('DELETE', `/console/api/admin/calls/${call.trace_id}`)).status, 403);
    const ended = await root.send('DELETE', `/console/api/admin/calls/${call.trace_id}`);
    assert.equal(ended.status, 204);
    const { text } = await running;
    const last = JSON.parse(text.split('\n\n').filter(Boolean).at(-1).slice(6));
    assert.equal(last.error.code, 'forbidden');
    const again = await root.send('DELETE', `/console/api/admin/calls/${call.trace_id}`);
    assert.equal(again.status, 404);
    const row = await until(async () => {
      const { json } = await ann.get('/console/api/usage');
      return json.items.find((r) => r.trace_id === call.trace_id);
    }, 'its row');
    assert.ok(row.deducted_amount > 0, 'what was sent is paid for');
  });

  it('tells what the place is, what it serves and how its backends are', alone, async () => {
    const { json: status } = await ann.get('/console/api/status');
    assert.equal(status.version, server.version);
    assert.equal(status.demonstration, true);
    const { json: models } = await ann.get('/console/api/models');
    const k25 = models.items.find((m) => m.id === 'kimi-k2.5');
    assert.equal(k25.price_output, 3);
    assert.deepEqual(k25.backends, ['local']);
    const { json: backends } = await root.get('/console/api/admin/backends');
    assert.equal(backends.items[0].name, 'local');
    assert.equal(backends.items[0].health, 'closed');
    assert.ok(backends.items[0].runs > 0);
  });
});
