// Accounts: from the first administrator to people who sign up, log in, forget their passwords and
// come by an OpenID Connect provider; and what an administrator does for them.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
  Browser,
  MailServer,
  Provider,
  account,
  freePort,
  password,
  someone,
  tokenOf,
} from './lib/console.mjs';
import { Server, hello, until } from './lib/server.mjs';
import { isReplicated } from './lib/stores.mjs';

const other = 'another horse battery';

describe('the first administrator', () => {
  let server;
  before(async () => {
    server = await Server.start();
  });
  after(() => server.kill());

  it('has a one-time password, which is printed once and must be changed', async () => {
    const found = server.log.match(/account is (\S+), its one-time password ([a-z0-9]{24})\n/);
    assert.ok(found, server.log);
    assert.equal(found[1], 'admin@localhost');
    const browser = new Browser(server);
    const first = await browser.logIn(found[1], found[2]);
    assert.equal(first.status, 200);
    assert.equal(first.json.role, 'admin');
    assert.equal(first.json.must_change_password, true);

    const refused = await browser.get('/console/api/admin/accounts');
    assert.equal(refused.status, 403);
    const same = await browser.post('/console/api/password', {
      old_password: found[2],
      new_password: found[2],
    });
    assert.equal(same.status, 400);
    const changed = await browser.post('/console/api/password', {
      old_password: found[2],
      new_password: password,
    });
    assert.equal(changed.status, 200, changed.text);
    assert.equal(changed.json.must_change_password, false);
    assert.equal((await browser.get('/console/api/admin/accounts')).status, 200);
    assert.equal((await browser.logIn(found[1], found[2])).status, 401);
    server.password = found[2];
  });

  it('is not made a second time', async () => {
    server.process.kill('SIGTERM');
    await server.exit;
    const again = await Server.start({ data: server.data });
    try {
      assert.doesNotMatch(again.log, /one-time password/);
      const browser = new Browser(again);
      assert.equal((await browser.logIn('admin@localhost')).status, 200);
      await again.stop();
      assert.ok(!again.log.includes(server.password));
    } finally {
      await again.kill();
    }
  });
});

describe('a person', () => {
  let server;
  before(async () => {
    server = await Server.start();
  });
  after(() => server.stop());

  it('signs up, and logs in and out', async () => {
    const browser = new Browser(server);
    const settings = await browser.get('/console/api/settings');
    assert.equal(settings.json.sign_up, 'open');
    assert.equal(settings.json.logged_in, false);
    const made = await browser.post('/console/api/sign-up', {
      email: ' Ada@Example.com ',
      password,
      name: 'Ada',
    });
    assert.equal(made.status, 202, made.text);
    assert.deepEqual(made.json, { next: 'log-in' });
    assert.equal((await browser.get('/console/api/me')).status, 401);

    const answer = await browser.logIn('ada@EXAMPLE.com');
    assert.equal(answer.status, 200);
    assert.equal(answer.json.email, 'ada@example.com');
    assert.equal(answer.json.name, 'Ada');
    assert.equal(answer.json.role, 'user');
    const me = await browser.get('/console/api/me');
    assert.equal(me.json.email, 'ada@example.com');
    assert.equal(me.json.csrf_token, answer.json.csrf_token);
    assert.equal((await browser.get('/console/api/settings')).json.logged_in, true);

    const cookie = new Map(browser.cookies);
    assert.equal((await browser.post('/console/api/log-out')).status, 204);
    assert.equal(browser.cookies.size, 0);
    browser.cookies = cookie;
    assert.equal((await browser.get('/console/api/me')).status, 401, 'the session is over');
  });

  it('must choose a password that is fit', async () => {
    for (const bad of ['short', 'password123', 'eve@example.com', 'x'.repeat(1025), 5, null]) {
      const browser = new Browser(server);
      const answer = await browser.post('/console/api/sign-up', {
        email: 'eve@example.com',
        password: bad,
      });
      assert.equal(answer.status, 400, String(bad));
      assert.equal(answer.json.error.param, 'password');
    }
    for (const bad of ['eve', 'eve@', '@example.com', 'eve @example.com', '', 7]) {
      const answer = await new Browser(server).post('/console/api/sign-up', {
        email: bad,
        password,
      });
      assert.equal(answer.status, 400, String(bad));
      assert.equal(answer.json.error.param, 'email');
    }
  });

  it('changes a name and a password, which ends the other sessions', async () => {
    const here = await someone(server, 'bob@example.com');
    const there = new Browser(server);
    assert.equal((await there.logIn('bob@example.com')).status, 200);

    const named = await here.patch('/console/api/me', { name: 'Bob 月' });
    assert.equal(named.json.name, 'Bob 月');
    const wrong = await here.post('/console/api/password', {
      old_password: other,
      new_password: 'a third horse battery',
    });
    assert.equal(wrong.status, 403);
    const before = new Map(here.cookies);
    const changed = await here.post('/console/api/password', {
      old_password: password,
      new_password: other,
    });
    assert.equal(changed.status, 200, changed.text);
    assert.equal((await here.get('/console/api/me')).status, 200);
    assert.equal((await there.get('/console/api/me')).status, 401);
    here.cookies = before;
    assert.equal((await here.get('/console/api/me')).status, 401, 'the old token is worth nothing');
    assert.equal((await here.logIn('bob@example.com')).status, 401);
    assert.equal((await here.logIn('bob@example.com', other)).status, 200);
  });

  it('logs out everywhere, or everywhere else', async () => {
    const here = await someone(server, 'carol@example.com');
    const there = new Browser(server);
    await there.logIn('carol@example.com');
    const kept = await here.post('/console/api/log-out-everywhere', { keep_this: true });
    assert.equal(kept.status, 204);
    assert.equal((await here.get('/console/api/me')).status, 200);
    assert.equal((await there.get('/console/api/me')).status, 401);
    await there.logIn('carol@example.com');
    assert.equal((await here.post('/console/api/log-out-everywhere')).status, 204);
    assert.equal((await there.get('/console/api/me')).status, 401);
    assert.equal((await here.get('/console/api/me')).status, 401);
  });

  it('who forgot a password gets a link from an administrator', async () => {
    const browser = await someone(server, 'dave@example.com');
    const asked = await new Browser(server).post('/console/api/reset', {
      email: 'dave@example.com',
    });
    assert.equal(asked.status, 202);
    assert.deepEqual(asked.json, { next: 'administrator' });

    const first = tokenOf(await account(server, 'reset', 'dave@example.com'));
    const token = tokenOf(await account(server, 'reset', 'dave@example.com'));
    const stranger = new Browser(server);
    const finish = (body) => stranger.post('/console/api/reset/finish', body);
    assert.equal((await finish({ token: first, password: other })).status, 404, 'a newer one is');
    assert.equal((await finish({ token, password: 'short' })).status, 400);
    assert.equal((await finish({ token, password: other })).status, 204);
    assert.equal((await finish({ token, password: other })).status, 404, 'it is good once');
    assert.equal((await finish({ token: 'nonsense', password: other })).status, 404);
    assert.equal((await browser.get('/console/api/me')).status, 401, 'all sessions are over');
    assert.equal((await browser.logIn('dave@example.com')).status, 401);
    assert.equal((await browser.logIn('dave@example.com', other)).status, 200);
  });
});

describe('sign-up by invitation', () => {
  let server, admin;
  before(async () => {
    server = await Server.start({ set: { 'accounts.sign_up': 'invite' } });
    admin = await someone(server, 'root@example.com', { admin: true });
  });
  after(() => server.stop());

  const signUp = (body) => new Browser(server).post('/console/api/sign-up', body);

  it('needs one', async () => {
    const answer = await signUp({ email: 'eve@example.com', password });
    assert.equal(answer.status, 403);
    assert.equal((await signUp({ email: 'e@example.com', password, token: 'x' })).status, 404);
  });

  it('for an address makes its account, and logs in', async () => {
    const made = await admin.post('/console/api/admin/invitations', { email: 'ann@example.com' });
    assert.equal(made.status, 201, made.text);
    assert.equal(made.json.mailed, false);
    assert.equal(tokenOf(made.json.path), made.json.token);
    const browser = new Browser(server);
    const bad = await browser.post('/console/api/sign-up', {
      token: made.json.token,
      password: 'short',
    });
    assert.equal(bad.status, 400, 'which does not cost the invitation');
    const answer = await browser.post('/console/api/sign-up', {
      token: made.json.token,
      email: 'somebody.else@example.com',
      password,
    });
    assert.equal(answer.status, 201, answer.text);
    assert.equal(answer.json.email, 'ann@example.com', 'it is for its address alone');
    assert.equal((await browser.get('/console/api/me')).json.email, 'ann@example.com');
    assert.equal((await signUp({ token: made.json.token, password })).status, 404);
    const again = await admin.post('/console/api/admin/invitations', { email: 'ann@example.com' });
    assert.equal(again.status, 409);
  });

  it('for whoever has it is good once', async () => {
    const token = tokenOf(await account(server, 'invite'));
    assert.equal((await signUp({ token, email: 'ben@example.com', password })).status, 202);
    assert.equal((await signUp({ token, email: 'cat@example.com', password })).status, 404);
    assert.equal((await new Browser(server).logIn('ben@example.com')).status, 200);
    assert.equal((await new Browser(server).logIn('cat@example.com')).status, 401);
  });

  it('is for nobody where accounts are closed', async () => {
    const closed = await Server.start({ set: { 'accounts.sign_up': 'closed' } });
    try {
      const token = tokenOf(await account(closed, 'invite'));
      const browser = new Browser(closed);
      for (const more of [{}, { token }]) {
        const body = { email: 'a@example.com', password, ...more };
        assert.equal((await browser.post('/console/api/sign-up', body)).status, 403);
      }
      await closed.stop();
    } finally {
      await closed.kill();
    }
  });
});

describe('where mails are sent', () => {
  let server, mail;
  before(async () => {
    mail = await MailServer.start();
    server = await Server.start({
      set: {
        'mail.smtp': mail.url,
        'mail.from': 'no-reply@example.com',
        'accounts.public_url': 'https://moongate.example',
      },
    });
  });
  after(async () => {
    await server.stop();
    await mail.stop();
  });

  it('an address is confirmed before it has an account', async () => {
    const browser = new Browser(server);
    const asked = await browser.post('/console/api/sign-up', { email: 'ada@example.com' });
    assert.equal(asked.status, 202);
    assert.deepEqual(asked.json, { next: 'mail' });
    const link = await mail.link(0);
    assert.equal(mail.mails[0].to, 'ada@example.com');
    assert.match(link, /^https:\/\/moongate\.example\/#\/sign-up\//);
    assert.equal((await browser.logIn('ada@example.com')).status, 401);
    const body = { token: tokenOf(link), password, name: 'Ada' };
    const made = await browser.post('/console/api/sign-up', body);
    assert.equal(made.status, 201, made.text);
    assert.equal((await browser.get('/console/api/me')).json.name, 'Ada');

    const known = await new Browser(server).post('/console/api/sign-up', {
      email: 'ada@example.com',
    });
    assert.equal(known.status, asked.status);
    assert.deepEqual(known.json, asked.json);
    await until(() => mail.mails.length === 2, 'the second mail');
    assert.equal(mail.mails[1].to, 'ada@example.com');
    assert.match(mail.mails[1].text, /already\s+has an account/);
  });

  it('a forgotten password is set anew by the link of a mail', async () => {
    const browser = await someone(server, 'bob@example.com');
    const n = mail.mails.length;
    const known = await browser.post('/console/api/reset', { email: 'bob@example.com' });
    const link = await mail.link(n);
    assert.match(link, /^https:\/\/moongate\.example\/#\/reset\//);
    const unknown = await browser.post('/console/api/reset', { email: 'nobody@example.com' });
    assert.equal(known.status, 202);
    assert.deepEqual([unknown.status, unknown.json], [known.status, known.json]);
    const finished = await browser.post('/console/api/reset/finish', {
      token: tokenOf(link),
      password: other,
    });
    assert.equal(finished.status, 204, finished.text);
    assert.equal((await browser.logIn('bob@example.com', other)).status, 200);
    assert.equal(mail.mails.length, n + 1, 'nobody else got a mail');
  });

  it('an invitation is sent as well', async () => {
    const admin = await someone(server, 'root@example.com', { admin: true });
    const n = mail.mails.length;
    const made = await admin.post('/console/api/admin/invitations', { email: 'cat@example.com' });
    assert.equal(made.json.mailed, true);
    assert.equal(await mail.link(n), made.json.url);
    assert.equal(mail.mails[n].to, 'cat@example.com');
  });

  it('one that is refused is logged without its link', async () => {
    const lost = await Server.start({
      set: {
        'mail.smtp': 'smtp://user:hunter2@127.0.0.1:1',
        'mail.from': 'no-reply@example.com',
        'accounts.public_url': 'https://moongate.example',
      },
    });
    try {
      const browser = await someone(lost, 'bob@example.com');
      assert.equal((await browser.post('/console/api/reset', { email: 'bob@example.com' })).status, 202);
      await until(() => /a mail was not sent/.test(lost.log), 'the line of the log');
      assert.ok(!lost.log.includes('hunter2') && !lost.log.includes('/#/reset'), lost.log);
      await lost.stop();
    } finally {
      await lost.kill();
    }
  });
});

describe('an administrator', () => {
  let server, admin;
  before(async () => {
    server = await Server.start();
    admin = await someone(server, 'root@example.com', { admin: true });
  });
  after(() => server.stop());

  const find = async (email) => {
    const list = await admin.get(`/console/api/admin/accounts?search=${encodeURIComponent(email)}`);
    assert.equal(list.status, 200, list.text);
    return list.json.items.find((a) => a.email === email);
  };

  it('lists accounts by pages and finds them', async () => {
    for (let i = 0; i < 3; i++) await account(server, 'create', `page${i}@example.com`);
    const all = await admin.get('/console/api/admin/accounts');
    assert.equal(all.json.count, all.json.items.length);
    assert.ok(all.json.items.every((a) => a.email !== ''), "the operator's own is not among them");
    const page = await admin.get('/console/api/admin/accounts?search=page&limit=2&offset=1');
    assert.equal(page.json.count, 3);
    assert.deepEqual(
      page.json.items.map((a) => a.email),
      ['page1@example.com', 'page2@example.com'],
    );
    assert.equal((await admin.get('/console/api/admin/accounts?search=%25')).json.count, 0);
    for (const query of ['limit=0', 'limit=201', 'limit=x', 'offset=-1', 'search=%ff'])
      assert.equal((await admin.get(`/console/api/admin/accounts?${query}`)).status, 400, query);
  });

  it('makes one, whose one-time password must be changed', async () => {
    const made = await admin.post('/console/api/admin/accounts', {
      email: 'new@example.com',
      name: 'New',
    });
    assert.equal(made.status, 201, made.text);
    const browser = new Browser(server);
    const first = await browser.logIn('new@example.com', made.json.one_time_password);
    assert.equal(first.json.must_change_password, true);
    const again = await admin.post('/console/api/admin/accounts', { email: 'new@example.com' });
    assert.equal(again.status, 409);
    const shown = await admin.get(`/console/api/admin/accounts/${made.json.id}`);
    assert.equal(shown.json.name, 'New');
    assert.ok(!shown.text.includes(made.json.one_time_password));
  });

  it('disables one: its sessions end, its keys are refused, and back again', async () => {
    const browser = await someone(server, 'dan@example.com');
    const token = await account(server, 'token', 'dan@example.com');
    const me = () =>
      new Browser(server).send('GET', '/console/api/me', {
        headers: { authorization: `Bearer ${token}` },
      });
    assert.equal((await me()).json.email, 'dan@example.com');
    const changed = await admin.patch(`/console/api/admin/accounts/${browser.id}`, {
      disabled: true,
      requests_per_minute: 7,
    });
    assert.equal(changed.status, 200, changed.text);
    assert.equal(changed.json.disabled, true);
    assert.equal(changed.json.requests_per_minute, 7);
    assert.equal((await browser.get('/console/api/me')).status, 401);
    const refused = await browser.logIn('dan@example.com');
    assert.equal(refused.status, 403);
    assert.equal(refused.json.error.code, 'disabled');
    assert.equal((await browser.logIn('dan@example.com', other)).status, 401, 'only who may is told');
    assert.equal((await me()).json.error.code, 'disabled');
    await admin.patch(`/console/api/admin/accounts/${browser.id}`, { disabled: false });
    assert.equal((await browser.logIn('dan@example.com')).status, 200);
    assert.equal((await me()).status, 200);
  });

  it('gives roles, and the last one stays', async () => {
    const lone = await Server.start();
    try {
      const found = lone.log.match(/one-time password ([a-z0-9]{24})\n/);
      const first = new Browser(lone);
      const { json } = await first.logIn('admin@localhost', found[1]);
      await first.post('/console/api/password', { old_password: found[1], new_password: password });
      const path = `/console/api/admin/accounts/${json.id}`;
      for (const change of [{ role: 'user' }, { disabled: true }])
        assert.equal((await first.patch(path, change)).status, 403);
      assert.equal((await first.patch(path, { role: 'emperor' })).status, 400);
      const second = await someone(lone, 'two@example.com');
      assert.equal((await second.get('/console/api/admin/accounts')).status, 403);
      const up = await first.patch(`/console/api/admin/accounts/${second.id}`, { role: 'admin' });
      assert.equal(up.json.role, 'admin');
      assert.equal((await second.get('/console/api/admin/accounts')).status, 200);
      assert.equal((await first.patch(path, { role: 'user' })).status, 200);
      assert.equal((await first.get('/console/api/admin/accounts')).status, 403);
      await lone.stop();
    } finally {
      await lone.kill();
    }
  });

  it('grants, takes back, and sees all of it', async () => {
    const browser = await someone(server, 'rich@example.com');
    const path = `/console/api/admin/accounts/${browser.id}/grants`;
    const first = await admin.post(path, { amount: '1.50', note: 'welcome' });
    assert.equal(first.status, 201, first.text);
    assert.equal(first.json.balance, 1.5);
    const back = await admin.post(path, { amount: -0.25 });
    assert.equal(back.json.balance, 1.25);
    assert.equal((await admin.post(path, { amount: -5 })).status, 403, 'never below zero');
    const timed = await admin.post(path, { amount: 1, expires_days: 30 });
    assert.ok(timed.json.expires_at > new Date().toISOString());
    for (const bad of [0, '1.1234567', 'x', 1e30, null])
      assert.equal((await admin.post(path, { amount: bad })).status, 400, String(bad));
    await account(server, 'grant', 'rich@example.com', '0.5', '--note', 'by command');

    const grants = await admin.get(path);
    assert.equal(grants.json.count, 4);
    assert.deepEqual(
      new Set(grants.json.items.map((g) => g.amount)),
      new Set([1.5, -0.25, 1, 0.5]),
    );
    const shown = await admin.get(`/console/api/admin/accounts/${browser.id}`);
    assert.equal(shown.json.balance, 2.75);
    const list = await admin.get(`/console/api/admin/applications?account=${browser.id}`);
    assert.equal(list.json.count, 1);
    assert.equal(list.json.items[0].balance, 2.75);

    const id = list.json.items[0].id;
    const off = await admin.patch(`/console/api/admin/applications/${id}`, { disabled: true });
    assert.equal(off.json.disabled, true);
    assert.equal((await admin.patch('/console/api/admin/applications/999', { disabled: true })).status, 404);
  });

  it('reads the totals', async () => {
    const key = await server.key();
    assert.equal((await server.chat(key, { ...hello, max_tokens: 4 })).status, 200);
    const totals = await until(async () => {
      const answer = await admin.get('/console/api/admin/totals?by=model&days=1');
      return answer.json.calls > 0 && answer;
    }, 'the call in the totals');
    assert.equal(totals.json.items[0].model, hello.model);
    assert.ok(totals.json.completion_tokens > 0);
    for (const by of ['hour', 'day', 'key', 'account'])
      assert.equal((await admin.get(`/console/api/admin/totals?by=${by}`)).status, 200);
    assert.equal((await admin.get('/console/api/admin/totals?by=moon')).status, 400);
    assert.equal((await admin.get('/console/api/admin/totals?days=0')).status, 400);
  });

  it('works on what is not there: 404', async () => {
    for (const id of ['1', '999999', '0', 'x', '9'.repeat(18)]) {
      const path = `/console/api/admin/accounts/${id}`;
      assert.equal((await admin.get(path)).status, 404, id);
      assert.equal((await admin.patch(path, { name: 'x' })).status, 404, id);
      assert.equal((await admin.post(`${path}/reset`)).status, 404, id);
      assert.equal((await admin.get(`${path}/grants`)).status, 404, id);
      assert.equal((await admin.post(`${path}/grants`, { amount: 1 })).status, 404, id);
    }
  });
});

describe('the command line', () => {
  let server;
  before(async () => {
    server = await Server.start();
  });
  after(() => server.stop());

  it('makes an account, lists it, disables and enables it', async () => {
    const secret = await account(server, 'create', 'ada@example.com', '--name', 'Ada', '--admin');
    assert.match(secret, /^[a-z0-9]{24}$/);
    const browser = new Browser(server);
    const first = await browser.logIn('ada@example.com', secret);
    assert.equal(first.json.must_change_password, true);
    assert.equal(first.json.role, 'admin');
    await account(server, 'grant', 'ada@example.com', '2.5', '--expires', '30d');
    const list = JSON.parse(await account(server, 'list', '--json'));
    const ada = list.find((a) => a.email === 'ada@example.com');
    assert.deepEqual([ada.name, ada.role, ada.state, ada.balance], ['Ada', 'admin', 'active', 2.5]);
    assert.match(await account(server, 'list'), /ada@example\.com/);
    await account(server, 'disable', 'ada@example.com');
    assert.equal((await browser.get('/console/api/me')).status, 401);
    await account(server, 'enable', 'ADA@example.com');
    assert.equal((await browser.logIn('ada@example.com', secret)).status, 200);
  });

  it('says what is wrong', async () => {
    const fails = async (status, words, ...args) => {
      const { code, stdout, stderr } = await server.command('account', ...args);
      assert.equal(code, status, stderr);
      assert.equal(stdout, '');
      assert.match(stderr, words);
    };
    await account(server, 'create', 'bob@example.com');
    await fails(1, /already/, 'create', 'bob@example.com');
    await fails(1, /no account/, 'reset', 'nobody@example.com');
    await fails(1, /no account/, 'grant', 'nobody@example.com', '1');
    await fails(2, /USD/, 'grant', 'bob@example.com', 'much');
    await fails(2, /e-mail/, 'create', 'bob');
    await fails(2, /missing/, 'create');
    await fails(2, /too many/, 'list', 'x');
    await fails(2, /takes no option/, 'list', '--admin');
    await fails(2, /no command/, 'destroy');
  });
});

describe('a log-in with an OpenID Connect provider', () => {
  let server, provider;
  before(async () => {
    provider = await Provider.start();
    server = await Server.start({ set: provider.options });
  });
  after(async () => {
    await server.stop();
    await provider.stop();
  });

  const ada = { sub: 'u-ada', email: 'ada@example.com', email_verified: true, name: 'Ada' };

  async function start(browser) {
    const begun = await browser.get('/console/api/oidc/start');
    assert.equal(begun.status, 303, begun.text);
    return begun.headers.location;
  }

  async function come(browser, claims) {
    const back = provider.authorize(await start(browser), claims);
    const answer = await browser.get(back);
    assert.equal(answer.status, 303, answer.text);
    return answer.headers.location;
  }

  it('makes an account for a verified address, and finds it again', async () => {
    const browser = new Browser(server);
    assert.equal((await browser.get('/console/api/settings')).json.oidc, 'Example');
    assert.equal(await come(browser, ada), '/?oidc=in');
    const me = await browser.get('/console/api/me');
    assert.equal(me.json.email, 'ada@example.com');
    assert.equal(me.json.name, 'Ada');
    assert.equal(me.json.has_password, false);
    assert.equal([...browser.cookies.keys()].join(), 'moongate_session', 'no other cookie stays');

    const again = new Browser(server);
    assert.equal(await come(again, { ...ada, email: 'moved@example.com' }), '/?oidc=in');
    assert.equal((await again.get('/console/api/me')).json.id, me.json.id);
    const asked = provider.seen.filter((line) => line.includes('.well-known')).length;
    assert.ok(asked <= (isReplicated ? 2 : 1), 'its configuration is asked for once');
    assert.equal((await new Browser(server).logIn('ada@example.com', '')).status, 401);
  });

  it('does not enter an account that has a password, unless its owner links them', async () => {
    const bob = { sub: 'u-bob', email: 'bob@example.com', email_verified: true };
    const owner = await someone(server, 'bob@example.com');
    const browser = new Browser(server);
    assert.equal(await come(browser, bob), '/?oidc=exists');
    assert.equal((await browser.get('/console/api/me')).status, 401);

    const link = await owner.send('POST', '/console/api/oidc/link');
    assert.equal(link.status, 200, link.text);
    const answer = await owner.get(provider.authorize(link.json.url, bob));
    assert.equal(answer.headers.location, '/?oidc=linked');
    assert.equal((await owner.get('/console/api/me')).json.has_oidc, true);
    assert.equal(await come(browser, bob), '/?oidc=in');
    assert.equal((await browser.get('/console/api/me')).json.id, owner.id);

    const thief = await someone(server, 'thief@example.com');
    const other = await thief.send('POST', '/console/api/oidc/link');
    const taken = await thief.get(provider.authorize(other.json.url, bob));
    assert.equal(taken.headers.location, '/?oidc=exists', 'a person has one account');
  });

  it('enters an account that never had a password', async () => {
    const admin = await someone(server, 'root@example.com', { admin: true });
    const made = await admin.post('/console/api/admin/accounts', {
      email: 'cat@example.com',
      password: false,
    });
    assert.equal(made.json.one_time_password, null);
    const browser = new Browser(server);
    const cat = { sub: 'u-cat', email: 'cat@example.com', email_verified: true };
    assert.equal(await come(browser, cat), '/?oidc=in');
    assert.equal((await browser.get('/console/api/me')).json.id, made.json.id);
    await account(server, 'disable', 'cat@example.com');
    assert.equal(await come(new Browser(server), cat), '/?oidc=disabled');
  });

  it('refuses what is not for this log-in', async () => {
    const cases = {
      'an address that is not verified': { ...ada, email_verified: false },
      'no address': { sub: 'u-x', email_verified: true },
      'another audience': { ...ada, aud: 'somebody' },
      'another issuer': { ...ada, iss: 'https://evil.example' },
      'another nonce': { ...ada, nonce: 'x' },
      'one that is over': { ...ada, exp: 1000 },
    };
    for (const [name, claims] of Object.entries(cases)) {
      const browser = new Browser(server);
      assert.equal(await come(browser, claims), '/?oidc=denied', name);
      assert.equal((await browser.get('/console/api/me')).status, 401, name);
    }
    assert.ok(!server.log.includes(provider.secret));
  });

  it('is bound to the browser that began it, and good once', async () => {
    const victim = new Browser(server);
    const attacker = new Browser(server);
    const back = provider.authorize(await start(attacker), { ...ada, sub: 'u-evil', email: 'evil@example.com' });
    assert.equal((await victim.get(back)).headers.location, '/?oidc=expired');
    await start(victim); /* with a cookie of another log-in */
    assert.equal((await victim.get(back)).headers.location, '/?oidc=expired');
    assert.equal((await victim.get('/console/api/me')).status, 401);

    const browser = new Browser(server);
    const good = provider.authorize(await start(browser), ada);
    const cookies = new Map(browser.cookies);
    assert.equal((await browser.get(good)).headers.location, '/?oidc=in');
    browser.cookies = cookies;
    assert.equal((await browser.get(good)).headers.location, '/?oidc=expired');
    const said = await browser.get('/console/api/oidc/callback?error=access_denied&state=x');
    assert.equal(said.status, 303);
  });

  it('makes no account where sign-up is by invitation', async () => {
    const strict = await Server.start({
      set: { ...provider.options, 'accounts.sign_up': 'invite' },
    });
    try {
      const browser = new Browser(strict);
      const begun = await browser.get('/console/api/oidc/start');
      const answer = await browser.get(provider.authorize(begun.headers.location, ada));
      assert.equal(answer.headers.location, '/?oidc=unknown');
      await strict.stop();
    } finally {
      await strict.kill();
    }
  });

  it('says so when the provider is away or is another', async () => {
    const port = await freePort();
    for (const issuer of [`http://127.0.0.1:${port}`, `${provider.issuer}/`]) {
      const lost = await Server.start({ set: { ...provider.options, 'oidc.issuer': issuer } });
      try {
        const answer = await new Browser(lost).get('/console/api/oidc/start');
        assert.equal(answer.headers.location, '/?oidc=unavailable');
        await lost.stop();
      } finally {
        await lost.kill();
      }
    }
    const none = await Server.start();
    try {
      assert.equal((await new Browser(none).get('/console/api/oidc/start')).status, 403);
      await none.stop();
    } finally {
      await none.kill();
    }
  });
});
