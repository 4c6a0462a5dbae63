// What strangers try: to find out who has an account, to plant and to ride sessions, to reach what
// is another's, to speak SQL, and to find secrets where none may be. How passwords are guessed is
// in lockout.test.mjs.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Browser, MailServer, account, password, someone, tokenOf } from './lib/console.mjs';
import { Server } from './lib/server.mjs';
import { contentOf } from './lib/stores.mjs';

const other = 'another horse battery';

// All that a stranger sees of an answer but what differs each time.
function visible(answer) {
  const { date, 'x-trace-id': a, 'x-request-id': b, ...headers } = answer.headers;
  return { status: answer.status, headers, text: answer.text.replaceAll(a, 'TRACE') };
}

describe('who has an account', () => {
  let server;
  before(async () => {
    server = await Server.start();
    await account(server, 'create', 'known@example.com');
  });
  after(() => server.stop());

  const same = async (path, body) => {
    const ask = async (email) => visible(await new Browser(server).post(path, { email, ...body }));
    const known = await ask('known@example.com');
    // An address as long as the other: lengths must not tell either.
    assert.deepEqual(await ask('other@example.com'), known);
    return known;
  };

  it('is not told by a log-in', async () => {
    assert.equal((await same('/console/api/log-in', { password: other })).status, 401);
    assert.equal((await same('/console/api/log-in', { password: '' })).status, 401);
    assert.equal((await same('/console/api/log-in', { password: 'x'.repeat(5000) })).status, 401);
  });

  it('is not told by a sign-up, which changes nothing', async () => {
    const browser = new Browser(server);
    const before = await someone(server, 'mine@example.com');
    const body = { email: 'mine@example.com', password: other, name: 'Thief' };
    assert.equal((await browser.post('/console/api/sign-up', body)).status, 202);
    assert.equal((await before.get('/console/api/me')).json.name, '');
    assert.equal((await browser.logIn('mine@example.com', other)).status, 401);
    assert.equal((await browser.logIn('mine@example.com')).status, 200);
    const first = await same('/console/api/sign-up', { password: other });
    assert.equal(first.status, 202);
    assert.equal((await same('/console/api/sign-up', { password: 'short' })).status, 400);
  });

  it('is not told by asking for a new password, with mails and without', async () => {
    assert.equal((await same('/console/api/reset')).status, 202);
    const mail = await MailServer.start();
    const mailing = await Server.start({
      set: {
        'mail.smtp': mail.url,
        'mail.from': 'no-reply@example.com',
        'accounts.public_url': 'https://moongate.example',
      },
    });
    try {
      await account(mailing, 'create', 'known@example.com');
      const ask = async (path, email) => visible(await new Browser(mailing).post(path, { email }));
      for (const path of ['/console/api/reset', '/console/api/sign-up']) {
        const known = await ask(path, 'known@example.com');
        assert.equal(known.status, 202);
        assert.deepEqual(await ask(path, 'other@example.com'), known);
      }
      await mailing.stop();
    } finally {
      await mailing.kill();
      await mail.stop();
    }
  });
});

describe('a mail leads to this server alone', () => {
  it('whatever a request calls it', async () => {
    const mail = await MailServer.start();
    const server = await Server.start({
      set: {
        'mail.smtp': mail.url,
        'mail.from': 'no-reply@example.com',
        'accounts.public_url': 'https://moongate.example/',
      },
    });
    try {
      await account(server, 'create', 'ada@example.com');
      const answer = await new Browser(server).post(
        '/console/api/reset',
        { email: 'ada@example.com' },
        { headers: { host: 'evil.example', 'x-forwarded-host': 'evil.example' } },
      );
      assert.equal(answer.status, 202);
      assert.match(await mail.link(0), /^https:\/\/moongate\.example\/#\/reset\/[\w-]{43}$/);
      assert.ok(!mail.mails[0].text.includes('evil'));
      await server.stop();
    } finally {
      await server.kill();
      await mail.stop();
    }
  });
});

describe('a session', () => {
  let server;
  before(async () => {
    server = await Server.start();
  });
  after(() => server.stop());

  const cookieOf = (answer) => answer.cookies.find((line) => line.includes('moongate_session='));

  it('has a cookie that scripts and other sites do not get', async () => {
    await someone(server, 'ada@example.com');
    const plain = cookieOf(await new Browser(server).logIn('ada@example.com'));
    assert.match(
      plain,
      /^moongate_session=[\w-]{43}; Path=\/; Max-Age=\d+; HttpOnly; SameSite=Lax$/,
    );
    const always = await Server.start({ set: { 'accounts.secure_cookies': 'always' } });
    try {
      const browser = await someone(always, 'ada@example.com');
      const secure = cookieOf(await browser.logIn('ada@example.com'));
      assert.match(
        secure,
        /^__Host-moongate_session=[\w-]{43}; Path=\/; Max-Age=\d+; HttpOnly; SameSite=Lax; Secure$/,
      );
      const [token] = browser.cookies.values();
      assert.equal((await browser.get('/console/api/me')).status, 200);
      browser.cookies = new Map([['moongate_session', token]]);
      assert.equal((await browser.get('/console/api/me')).status, 401, 'by no other name');
      await always.stop();
    } finally {
      await always.kill();
    }
  });

  it('that was planted is worth nothing, and a log-in begins another', async () => {
    await account(server, 'create', 'bob@example.com');
    const browser = await someone(server, 'carol@example.com');
    const planted = 'A'.repeat(43);
    const victim = new Browser(server);
    victim.cookies.set('moongate_session', planted);
    assert.equal((await victim.get('/console/api/me')).status, 401);
    assert.equal((await victim.logIn('carol@example.com')).status, 200);
    assert.notEqual(victim.cookies.get('moongate_session'), planted);

    // The attacker's own session, planted: it ends where somebody else logs in, as another's.
    const attacker = await someone(server, 'eve@example.com');
    const tricked = new Browser(server);
    tricked.cookies = new Map(attacker.cookies);
    assert.equal((await tricked.logIn('carol@example.com')).status, 200);
    assert.notDeepEqual(tricked.cookies, attacker.cookies);
    assert.equal((await attacker.get('/console/api/me')).status, 401);
    assert.equal((await browser.get('/console/api/me')).status, 200);
  });

  it('is not ridden by another site', async () => {
    const browser = await someone(server, 'dan@example.com');
    const stranger = await someone(server, 'finn@example.com');
    const good = browser.csrf;
    const change = async (headers, body = { name: 'ridden' }) => {
      const answer = await browser.send('PATCH', '/console/api/me', { body, headers });
      return answer.status;
    };
    assert.equal(await change({ 'x-csrf-token': undefined }), 403);
    assert.equal(await change({ 'x-csrf-token': '' }), 403);
    assert.equal(await change({ 'x-csrf-token': stranger.csrf }), 403);
    assert.equal(await change({ 'x-csrf-token': good, origin: 'https://evil.example' }), 403);
    assert.equal(await change({ 'x-csrf-token': good, origin: 'null' }), 403);
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', undefined])
      assert.equal(await change({ 'x-csrf-token': good, 'content-type': type }), 400, type);
    assert.equal((await browser.get('/console/api/me')).json.name, '');
    assert.equal(await change({ 'x-csrf-token': good, origin: server.origin }), 200);

    // Nor is anybody logged in by another site.
    const forced = await new Browser(server).post(
      '/console/api/log-in',
      { email: 'finn@example.com', password },
      { headers: { origin: 'https://evil.example' } },
    );
    assert.equal(forced.status, 403);
    assert.deepEqual(forced.cookies, []);
    const out = await browser.send('POST', '/console/api/log-out', {
      headers: { 'x-csrf-token': undefined },
    });
    assert.equal(out.status, 403);
  });

  it('is for pages of this origin alone', async () => {
    const answer = await new Browser(server).send('GET', '/console/api/settings', {
      headers: { origin: 'https://evil.example' },
    });
    assert.equal(answer.headers['access-control-allow-origin'], undefined);
    assert.equal(answer.headers['cache-control'], 'no-store');
  });

  it('has a cookie that lasts no longer than it', async () => {
    const brief = await Server.start({
      set: { 'accounts.session_idle': '1m', 'accounts.session_max': '1m' },
    });
    try {
      const browser = await someone(brief, 'ada@example.com');
      const cookie = (await browser.logIn('ada@example.com')).cookies[0];
      assert.match(cookie, /Max-Age=60;/);
      await brief.stop();
    } finally {
      await brief.kill();
    }
  });

  it('does what a platform token may not', async () => {
    const browser = await someone(server, 'gus@example.com');
    const token = await account(server, 'token', 'gus@example.com');
    const headers = { authorization: `Bearer ${token}` };
    const stranger = new Browser(server);
    const ask = (method, path, body) => stranger.send(method, path, { body, headers });
    assert.equal((await ask('GET', '/console/api/me')).status, 200);
    const set = { old_password: password, new_password: other };
    assert.equal((await ask('POST', '/console/api/password', set)).status, 401);
    assert.equal((await ask('PATCH', '/console/api/me', { name: 'x' })).status, 401);
    assert.equal((await ask('POST', '/console/api/log-out-everywhere', {})).status, 401);
    assert.equal((await ask('GET', '/console/api/admin/accounts')).status, 403);
    assert.equal((await browser.get('/console/api/me')).status, 200);
  });
});

describe("what is another's", () => {
  let server, ada, bob;
  before(async () => {
    server = await Server.start();
    ada = await someone(server, 'ada@example.com');
    bob = await someone(server, 'bob@example.com');
  });
  after(() => server.stop());

  it('is not there: keys and applications by their numbers', async () => {
    const acquired = await ada.post('/console/api/acquire');
    assert.ok(acquired.status < 300, acquired.text);
    const made = await ada.post('/console/api/keys', { name: 'mine' });
    assert.ok(made.status < 300, made.text);
    const id = made.json.id ?? made.json.credential?.id;
    assert.ok(id, made.text);
    const own = await ada.get('/console/api/application');
    assert.equal(own.status, 200, own.text);

    for (const root of ['/console/api/keys', '/api/v1/credentials']) {
      assert.equal((await ada.get(`${root}/${id}`)).status, 200);
      const answers = [
        await bob.get(`${root}/${id}`),
        await bob.patch(`${root}/${id}`, { name: 'stolen' }),
        await bob.send('DELETE', `${root}/${id}`),
        await bob.post(`${root}/${id}/rotate`),
      ];
      const none = await bob.get(`${root}/999999`);
      assert.equal(none.status, 404);
      for (const answer of answers) assert.equal(answer.status, 404, answer.text);
      assert.deepEqual(visible(answers[0]).text, visible(none).text, 'as one that nobody has');
    }
    assert.equal((await bob.get(`/api/v1/applications/${own.json.id}`)).status, 404);
    assert.equal((await ada.get(`/console/api/keys/${id}`)).json.name, 'mine');
  });

  it('and administration is for administrators', async () => {
    for (const [method, path, body] of [
      ['GET', '/console/api/admin/accounts'],
      ['POST', '/console/api/admin/accounts', { email: 'x@example.com' }],
      ['GET', `/console/api/admin/accounts/${ada.id}`],
      ['PATCH', `/console/api/admin/accounts/${bob.id}`, { role: 'admin' }],
      ['POST', `/console/api/admin/accounts/${ada.id}/reset`, {}],
      ['GET', `/console/api/admin/accounts/${ada.id}/grants`],
      ['POST', `/console/api/admin/accounts/${bob.id}/grants`, { amount: 1000 }],
      ['POST', '/console/api/admin/invitations', {}],
      ['GET', '/console/api/admin/applications'],
      ['PATCH', '/console/api/admin/applications/1', { disabled: true }],
      ['GET', '/console/api/admin/totals'],
    ]) {
      assert.equal((await bob.send(method, path, { body })).status, 403, path);
      assert.equal((await new Browser(server).send(method, path, { body })).status, 401, path);
    }
    const more = '{"name":"Bob","role":"admin","disabled":false}';
    const me = await bob.patch('/console/api/me', more);
    assert.equal(me.json.role, 'user', 'what is no member of it is not looked at');
  });
});

describe('SQL', () => {
  let server, admin;
  before(async () => {
    server = await Server.start();
    admin = await someone(server, 'root@example.com', { admin: true });
  });
  after(() => server.stop());

  const spells = [
    "' OR '1'='1",
    "'; DROP TABLE accounts; --",
    '" OR ""="',
    "x' UNION SELECT password FROM accounts --",
    '$1',
    '\\',
    '%',
    "admin'--",
    ');--',
    '{id}',
  ];

  it('is text in every field', async () => {
    for (const spell of spells) {
      const browser = new Browser(server);
      const asked = [
        await browser.logIn(spell, spell),
        await browser.logIn('root@example.com', spell),
        await browser.post('/console/api/sign-up', { email: spell, password: spell }),
        await browser.post('/console/api/sign-up', { email: 'a@example.com', password, token: spell }),
        await browser.post('/console/api/reset', { email: spell }),
        await browser.post('/console/api/reset/finish', { token: spell, password: other }),
        await browser.get(`/console/api/oidc/callback?state=${encodeURIComponent(spell)}&code=x`),
        await browser.send('GET', '/console/api/me', { headers: { authorization: `Bearer ${spell}` } }),
        await browser.send('GET', '/console/api/me', {
          headers: { cookie: `moongate_session=${spell.replaceAll(/[;,"]/g, '')}` },
        }),
        await browser.get(`/console/api/admin/accounts/${encodeURIComponent(spell)}`),
      ];
      for (const answer of asked)
        assert.ok([400, 401, 403, 404, 429].includes(answer.status), `${spell}: ${answer.text}`);
    }
  });

  it('is kept as text where text is taken', async () => {
    const { id } = admin;
    for (const spell of spells) {
      assert.equal((await admin.patch('/console/api/me', { name: spell })).json.name, spell);
      const path = `/console/api/admin/accounts/${id}`;
      assert.equal((await admin.patch(path, { name: spell })).json.name, spell);
      const grant = await admin.post(`${path}/grants`, { amount: 1, note: spell });
      assert.equal(grant.json.note, spell);
      const found = await admin.get(
        `/console/api/admin/accounts?search=${encodeURIComponent(spell)}`,
      );
      assert.equal(found.status, 200);
      assert.equal(found.json.count, 0, spell);
    }
    const list = await admin.get('/console/api/admin/accounts');
    assert.ok(list.json.items.some((a) => a.email === 'root@example.com'), 'the table is there');
  });
});

describe('secrets', () => {
  it('are in no log and no file', async () => {
    const server = await Server.start({
      set: { 'log.level': 'debug', 'accounts.sign_up': 'invite' },
    });
    try {
      const secrets = [password, other];
      const admin = await someone(server, 'root@example.com', { admin: true });
      secrets.push(admin.csrf, ...admin.cookies.values());
      const made = await admin.post('/console/api/admin/accounts', { email: 'new@example.com' });
      secrets.push(made.json.one_time_password);
      const invited = await admin.post('/console/api/admin/invitations');
      secrets.push(invited.json.token);
      const reset = await admin.post(`/console/api/admin/accounts/${made.json.id}/reset`);
      secrets.push(reset.json.token);
      secrets.push(tokenOf(await account(server, 'reset', 'root@example.com')));
      secrets.push(await account(server, 'token', 'root@example.com'));
      secrets.push(await account(server, 'create', 'cli@example.com'));
      const browser = new Browser(server);
      await browser.logIn('root@example.com', other);
      await browser.post('/console/api/reset/finish', { token: reset.json.token, password: other });
      await browser.post('/console/api/log-in', `{"email":"a@b.example","password":"${other}`);
      const list = [
        await admin.get('/console/api/admin/accounts'),
        await admin.get(`/console/api/admin/accounts/${made.json.id}`),
        await admin.get('/console/api/me'),
      ];
      for (const answer of list) assert.doesNotMatch(answer.text, /argon2|"password"/);

      const kept = await contentOf(server.data);
      assert.ok(kept.some(([, bytes]) => bytes.includes('root@example.com')));
      for (const secret of secrets) {
        assert.ok(secret.length > 10);
        assert.ok(!server.log.includes(secret), `the log holds ${secret}`);
        for (const [what, bytes] of kept)
          assert.ok(!bytes.includes(secret), `${what} holds ${secret}`);
      }
      await server.stop();
    } finally {
      await server.kill();
    }
  });
});
