// The platform's routes as its clients call them: acquire, credentials, usage; and that nobody
// sees what is another's. Every answer is held against openapi.yaml by the client.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Server, hello, until } from './lib/server.mjs';

const short = { ...hello, max_tokens: 4, thinking: { type: 'disabled' } };
const config = `
quota:
  free: 0.01
  keys: 5
models:
  - id: kimi-k2.5
    price_input: 3
    price_cached: 1
    price_output: 12
`;

describe('platform', () => {
  let server;
  const people = {};

  before(async () => {
    server = await Server.start({ config });
    for (const [name, ...more] of [['ann'], ['bob'], ['eve'], ['root', '--admin']]) {
      await made('account', 'create', `${name}@example.org`, ...more);
      people[name] = await made('account', 'token', `${name}@example.org`);
    }
  });
  after(() => server.stop());

  async function made(...args) {
    const { code, stdout, stderr } = await server.command(...args);
    assert.equal(code, 0, stderr);
    return stdout.trim();
  }
  const ask = (who, method, path, body) => server.call(method, path, { key: people[who], body });
  async function good(who, method, path, body, status = 200) {
    const answer = await ask(who, method, path, body);
    assert.equal(answer.status, status, answer.text);
    return answer.text ? answer.json : null;
  }
  async function bad(who, method, path, body, status, code) {
    const answer = await ask(who, method, path, body);
    assert.equal(answer.status, status, answer.text);
    assert.equal(answer.json.error.code, code);
    return answer.json.error;
  }
  const idOf = (who) =>
    good(who, 'GET', '/api/v1/applications').then(({ items: [{ user_id: id }] }) => id);

  let key, first, application;

  it('tells what there is, with a slash at the end and without', async () => {
    for (const end of ['', '/']) {
      const models = await good('ann', 'GET', `/api/v1/models${end}`);
      assert.equal(models.count, models.items.length);
      const [model] = models.items.filter((m) => m.id === 'kimi-k2.5');
      assert.deepEqual([model.price_input, model.price_cached, model.price_output], [3, 1, 12]);
      const { items: services } = await good('ann', 'GET', `/api/v1/services${end}`);
      assert.equal(services[0].applied, false);
      assert.equal(services[0].free_amount, 0.01);
      assert.equal((await good('ann', 'GET', `/api/v1/services/1${end}`)).alias, 'kimi');
      assert.equal((await good('ann', 'GET', `/api/v1/services/1/apis${end}`)).count, 1);
      assert.equal((await good('ann', 'GET', `/api/v1/apis${end}`)).count, 1);
      assert.equal((await good('ann', 'GET', `/api/v1/config${end}`)).currency, 'USD');
    }
    await bad('ann', 'GET', '/api/v1/services/2', undefined, 404, 'not_found');
    await bad('ann', 'POST', '/api/v1/orders/', {}, 404, 'no_api');
  });

  it('is for platform tokens, not for keys that call', async () => {
    const operators = await server.key();
    const answer = await server.call('GET', '/api/v1/credentials', { key: operators });
    assert.equal(answer.json.error.code, 'token_mismatched');
    const call = await server.chat(people.ann, short);
    assert.equal(call.json.error.code, 'token_mismatched');
    assert.equal((await server.call('GET', '/api/v1/credentials')).status, 401);
  });

  it('acquires once: application, first key and free quota', async () => {
    const body = { service_id: 1, type: 'Usage', scope: 'Global', user_id: 4711 };
    const got = await good('ann', 'POST', '/api/v1/applications/', body, 201);
    assert.equal(got.free, 'granted');
    assert.equal(got.remaining_amount, 0.01);
    assert.notEqual(got.user_id, 4711);
    [first] = got.credentials;
    key = first.token;
    application = got.id;
    assert.match(key, /^mg-[\w-]{43}$/);
    await bad('ann', 'POST', '/api/v1/applications', body, 409, 'duplication');
    const again = await good('ann', 'POST', '/console/api/acquire', {});
    assert.equal(again.free, 'had');
    assert.equal(again.remaining_amount, 0.01);
    assert.equal((await good('ann', 'GET', '/console/api/grants')).count, 1);
    const listed = await good('ann', 'GET', `/api/v1/applications/${application}/`);
    assert.deepEqual(
      listed.credentials.map((c) => [c.id, c.token]),
      [[first.id, null]],
    );
    assert.ok((await good('ann', 'GET', '/api/v1/services/1')).applied);
  });

  it('acquires for one of many that ask at once', async () => {
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => ask('bob', 'POST', '/api/v1/applications', {})),
    );
    assert.deepEqual(answers.map((a) => a.status).sort(), [201, ...Array(7).fill(409)]);
    const own = await good('bob', 'GET', '/console/api/application');
    assert.equal(own.granted_amount, 0.01);
    assert.equal(own.credentials.length, 1);
  });

  it('refuses what it cannot acquire', async () => {
    await bad('eve', 'POST', '/api/v1/applications', { service_id: 7 }, 404, 'not_found');
    await bad('eve', 'POST', '/api/v1/applications', { type: 'Period' }, 400, 'bad_request');
  });

  it('makes a credential with rights, and says its secret once', async () => {
    const made = await good(
      'ann',
      'POST',
      '/api/v1/credentials/',
      {
        name: '=HYPERLINK("x")',
        expires: 30,
        models: ['kimi-k2.5'],
        networks: ['127.0.0.0/8', '::ffff:10.0.0.0/104'],
        limited_amount: '0.5',
        host: 'anything',
      },
      201,
    );
    assert.deepEqual(made.networks, ['127.0.0.0/8', '10.0.0.0/8']);
    assert.equal(made.limited_amount, 0.5);
    assert.equal((await server.chat(made.token, short)).status, 200);
    const again = await good('ann', 'GET', `/api/v1/credentials/${made.id}`);
    assert.equal(again.token, null);
    assert.equal(again.name, '=HYPERLINK("x")');
    assert.ok(!server.log.includes(made.token.slice(10)));
  });

  it('refuses values that a credential cannot have', async () => {
    for (const [body, param] of [
      [{ name: 'x'.repeat(128) }, 'name'],
      [{ name: 'a\nb' }, 'name'],
      [{ models: ['a b'] }, 'models'],
      [{ networks: ['10.0.0.1/8'] }, 'networks'],
      [{ expires: '2020-01-01' }, 'expires'],
      [{ expired_at: 'soon' }, 'expired_at'],
      [{ limited_amount: 0.0000001 }, 'limited_amount'],
      [{ limited_amount: -1 }, 'limited_amount'],
      [{ application_id: 'x' }, 'application_id'],
      [{ disabled: 'no' }, 'disabled'],
    ]) {
      const error = await bad('ann', 'POST', '/api/v1/credentials', body, 400, 'bad_request');
      assert.equal(error.param, param);
    }
    await bad('ann', 'POST', '/api/v1/credentials', { concurrent: 1 }, 403, 'forbidden');
    await bad('ann', 'POST', '/api/v1/credentials', { kind: 'platform' }, 403, 'forbidden');
  });

  it('changes what is given of a credential, and nothing else', async () => {
    const path = `/api/v1/credentials/${first.id}`;
    const changed = await good('ann', 'PATCH', path, { limited_amount: 2, disabled: true });
    assert.deepEqual(
      [changed.limited_amount, changed.state, changed.name],
      [2, 'disabled', first.name],
    );
    await until(async () => (await server.chat(key, short)).status === 403, 'the key to be off');
    const back = await good('ann', 'PATCH', path, { limited_amount: null, disabled: false });
    assert.deepEqual([back.limited_amount, back.state], [null, 'active']);
    await until(async () => (await server.chat(key, short)).status === 200, 'the key to be on');
  });

  it('rotates with an overlap, and without one at once', async () => {
    const path = (id) => `/api/v1/credentials/${id}/rotate/`;
    const second = await good('ann', 'POST', path(first.id), { overlap_seconds: 3600 });
    assert.notEqual(second.token, key);
    for (const token of [key, second.token]) {
      const answer = await server.chat(token, short);
      assert.equal(answer.status, 200, answer.text);
    }
    const third = await good('ann', 'POST', path(second.id), undefined);
    assert.equal((await server.chat(third.token, short)).status, 200);
    await until(async () => (await server.chat(second.token, short)).status === 401, 'its end');
    await bad('ann', 'POST', path(second.id), {}, 403, 'forbidden');
    await bad('ann', 'POST', path(third.id), { overlap_seconds: 604801 }, 400, 'bad_request');
    key = third.token;
    first = third;
  });

  it('bounds the number of keys, and deletes them', async () => {
    const { items } = await good('ann', 'GET', '/api/v1/credentials?limit=1000');
    const ids = [];
    for (let n = items.length; n < 5; n++) {
      ids.push((await good('ann', 'POST', '/console/api/keys', { name: `n${n}` }, 201)).id);
    }
    await bad('ann', 'POST', '/console/api/keys', {}, 403, 'forbidden');
    for (const id of ids) await good('ann', 'DELETE', `/console/api/keys/${id}`, undefined, 204);
    await good('ann', 'DELETE', `/console/api/keys/${ids[0]}`, undefined, 204);
    const left = await good('ann', 'GET', '/console/api/keys?limit=1000');
    assert.equal(left.count, items.length);
    const all = await good('ann', 'GET', '/console/api/keys?limit=1000&revoked=1');
    assert.ok(all.items.some((c) => c.id === ids[0] && c.state === 'revoked'));
  });

  it('shows each call with what it cost', async () => {
    const before = await good('ann', 'GET', '/console/api/application');
    const answer = await server.chat(key, short);
    const trace = answer.headers['x-trace-id'];
    const page = await until(async () => {
      const found = await good('ann', 'GET', `/api/v1/usage/apis/?trace_id=${trace}`);
      return found.count === 1 && found;
    }, 'the call to be in the books');
    const [call] = page.items;
    const { prompt_tokens: prompt, completion_tokens: completion } = answer.json.usage;
    assert.deepEqual([call.prompt_tokens, call.completion_tokens], [prompt, completion]);
    const cached = call.cached_tokens;
    const micros = Math.ceil((prompt - cached) * 3 + cached + completion * 12);
    assert.equal(Math.round(call.deducted_amount * 1e6), micros);
    assert.equal(call.credential_id, first.id);
    const after = await good('ann', 'GET', '/console/api/application');
    assert.equal(Math.round((before.remaining_amount - after.remaining_amount) * 1e6), micros);
    assert.equal(call.remaining_amount, after.remaining_amount);
    assert.deepEqual(await good('ann', 'GET', `/api/v1/usage/apis/${call.id}`), call);
    assert.deepEqual(await good('ann', 'GET', `/console/api/usage/${call.id}/`), call);
  });

  it('pages and filters calls, newest first', async () => {
    const all = await good('ann', 'GET', '/api/v1/usage/apis?limit=1000&ordering=-created_at');
    assert.equal(all.count, all.items.length);
    const ids = all.items.map((c) => c.id);
    assert.deepEqual(ids, ids.toSorted((a, b) => b - a));
    const page = await good('ann', 'GET', '/api/v1/usage/apis?limit=2&offset=1');
    assert.deepEqual(
      page.items.map((c) => c.id),
      ids.slice(1, 3),
    );
    const older = await good('ann', 'GET', `/api/v1/usage/apis?limit=2&before=${ids[1]}`);
    assert.deepEqual(
      older.items.map((c) => c.id),
      ids.slice(2, 4),
    );
    const count = async (query) => (await good('ann', 'GET', `/api/v1/usage/apis?${query}`)).count;
    assert.equal(await count('model=kimi-k2.5'), ids.length);
    for (const status of new Set(all.items.map((c) => c.status_code))) {
      const those = all.items.filter((c) => c.status_code === status);
      assert.equal(await count(`status_code=${status}`), those.length);
    }
    assert.equal(await count('model=other'), 0);
    assert.equal(await count('status_code=500'), 0);
    assert.equal(await count('api_id=1&service_id=1'), ids.length);
    assert.equal(await count('api_id=2'), 0);
    assert.equal(await count('created_at_to=2020-01-01'), 0);
    assert.equal(await count('created_at_from=2020-01-01T00:00:00%2B08:00'), ids.length);
    assert.equal(await count(`application_id=${application}`), ids.length);
    const wrong = ['limit=1001', 'limit=0', 'ordering=id', 'created_at_from=x', 'offset=-1'];
    for (const query of wrong) {
      await bad('ann', 'GET', `/api/v1/usage/apis?${query}`, undefined, 400, 'bad_request');
    }
  });

  it('sums calls by hour, day, model and key', async () => {
    const { items: calls } = await good('ann', 'GET', '/api/v1/usage/apis?limit=1000');
    const sum = (rows, name) => Math.round(rows.reduce((n, row) => n + row[name], 0) * 1e6);
    for (const by of ['hour', 'day', 'model', 'key']) {
      for (const path of ['/api/v1/usage/apis/aggregate/', '/console/api/usage/sums']) {
        const { items } = await good('ann', 'GET', `${path}?by=${by}`);
        assert.equal(sum(items, 'calls'), calls.length * 1e6);
        assert.equal(sum(items, 'deducted_amount'), sum(calls, 'deducted_amount'), by);
      }
    }
    await bad('ann', 'GET', '/console/api/usage/sums?by=x', undefined, 400, 'bad_request');
    const codes = await good('ann', 'GET', '/api/v1/usage/apis/status-codes/');
    assert.equal(sum(codes.items, 'count'), calls.length * 1e6);
    for (const { status_code: status, count } of codes.items) {
      assert.equal(calls.filter((c) => c.status_code === status).length, count);
    }
  });

  it('exports calls, in pieces and without a formula', async () => {
    const { items: calls } = await good('ann', 'GET', '/api/v1/usage/apis?limit=1000');
    const lines = [];
    let before = '';
    do {
      const path = `/api/v1/usage/apis/export?format=jsonl&limit=2${before}`;
      const answer = await ask('ann', 'GET', path);
      assert.equal(answer.status, 200);
      lines.push(...answer.text.split('\n').slice(0, -1).map(JSON.parse));
      before = answer.headers['x-next-before'];
      if (before) before = `&before=${before}`;
    } while (before);
    assert.deepEqual(lines, calls);
    const csv = await ask('ann', 'GET', '/console/api/usage/export');
    assert.match(csv.headers['content-disposition'], /^attachment; filename="[\w.-]+\.csv"$/);
    const rows = csv.text.split('\r\n');
    assert.equal(rows.length, calls.length + 2);
    assert.ok(csv.text.includes(`,"'=HYPERLINK(""x"")",`));
    assert.ok(!/(^|,)"?[=+@-]/m.test(csv.text));
    await bad('ann', 'GET', '/console/api/usage/export?format=xls', undefined, 400, 'bad_request');
  });

  it("does not have another account's objects, whoever asks", async () => {
    const { items } = await good('ann', 'GET', '/api/v1/usage/apis?limit=1');
    for (const who of ['bob', 'root']) {
      for (const [method, path, body] of [
        ['GET', `/api/v1/applications/${application}`],
        ['POST', `/api/v1/applications/${application}/update-allow-consume-global`, {}],
        ['GET', `/api/v1/credentials/${first.id}`],
        ['PATCH', `/api/v1/credentials/${first.id}`, { name: 'mine' }],
        ['DELETE', `/api/v1/credentials/${first.id}`],
        ['POST', `/api/v1/credentials/${first.id}/rotate`, {}],
        ['POST', '/api/v1/credentials', { application_id: application }],
        ['GET', `/api/v1/usage/apis/${items[0].id}`],
        ['GET', `/console/api/keys/${first.id}`],
        ['GET', `/console/api/usage/${items[0].id}`],
      ]) {
        await bad(who, method, path, body, 404, 'not_found');
      }
      const theirs = await good(who, 'GET', `/api/v1/credentials?application_id=${application}`);
      assert.equal(theirs.count, 0);
      for (const query of [`application_id=${application}`, `credential_id=${first.id}`]) {
        assert.equal((await good(who, 'GET', `/api/v1/usage/apis?${query}`)).count, 0);
        assert.equal((await good(who, 'GET', `/console/api/usage/sums?by=key&${query}`)).count, 0);
        assert.equal(
          (await ask(who, 'GET', `/console/api/usage/export?format=jsonl&${query}`)).text,
          '',
        );
      }
    }
    assert.equal((await server.chat(key, short)).status, 200);
  });

  it("shows another account's calls to an administrator who names it", async () => {
    const ann = await idOf('ann');
    const own = await good('ann', 'GET', `/api/v1/usage/apis?limit=1000&user_id=${ann}`);
    const seen = await good('root', 'GET', `/api/v1/usage/apis?limit=1000&user_id=${ann}`);
    assert.deepEqual(seen, own);
    const [{ id }] = own.items;
    assert.equal((await good('root', 'GET', `/api/v1/usage/apis/${id}?user_id=${ann}`)).id, id);
    for (const what of [`/${id}`, '', '/aggregate', '/status-codes', '/export']) {
      const path = `/api/v1/usage/apis${what}?user_id=${ann}`;
      await bad('bob', 'GET', path, undefined, 404, 'not_found');
    }
  });

  it('lets administrators set rates of their keys', async () => {
    await good('root', 'POST', '/console/api/acquire', {}, 201);
    const made = await good('root', 'POST', '/api/v1/credentials', { tokens_per_minute: 9 }, 201);
    const more = await good('root', 'PATCH', `/api/v1/credentials/${made.id}`, { concurrent: 2 });
    assert.deepEqual([more.tokens_per_minute, more.concurrent], [9, 2]);
  });

  it('takes SQL for the text that it is', async () => {
    const evil = `'; DROP TABLE keys; --`;
    const made = await good('bob', 'POST', '/api/v1/credentials', { name: evil }, 201);
    assert.equal((await good('bob', 'GET', `/api/v1/credentials/${made.id}`)).name, evil);
    const query = `model=${encodeURIComponent(evil)}&trace_id=${encodeURIComponent(`' OR 1=1 --`)}`;
    assert.equal((await good('bob', 'GET', `/api/v1/usage/apis?${query}`)).count, 0);
    for (const id of [`1'`, '1 OR 1=1', '-1', '0', '1.5', 'x', '9'.repeat(64)]) {
      const path = `/api/v1/credentials/${encodeURIComponent(id)}`;
      assert.equal((await ask('bob', 'GET', path)).status, 404);
    }
  });
});
