// Accounts in browsers: two of them that must not see each other, tabs of one that end together.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { reply as says } from '../e2e/lib/dialects.mjs';
import { hello, until } from '../e2e/lib/server.mjs';
import { Person, visit } from './lib/chromium.mjs';
import * as people from './lib/people.mjs';
import { button, reply } from './lib/people.mjs';
import { equipped, relayStage } from './lib/stage.mjs';

const answers = (text) => says({ content: [text] });

describe('two accounts', () => {
  let ann, bob, call;
  const stage = relayStage(async () => {
    ann = await equipped(stage, 'ann@example.org');
    bob = await equipped(stage, 'bob@example.org');
    const named = await ann.patch(`/console/api/keys/${ann.key.id}`, { name: 'the key of ann' });
    assert.equal(named.status, 200, named.text);
    stage.upstream.play(answers('the reply to ann'));
    await stage.server.chat(ann.secret, hello);
    call = await until(async () => {
      const { json } = await ann.get('/console/api/usage');
      return json.items[0];
    }, 'the call of ann');
  });

  it(
    'do not see each other in two browsers',
    visit(
      stage,
      () => ({ browser: ann }),
      async (page) => {
        const other = await Person.enter(stage.chromium, stage.server, {
          browser: bob,
          mayFail: [404],
        });
        const theirs = other.page;
        await page.goto('/keys');
        await page.getByText('the key of ann').waitFor();
        for (const path of ['/keys', '/usage', '/']) {
          await theirs.goto(path);
          await theirs.getByText('bob@example.org').waitFor();
          await other.quiet();
          const html = await theirs.content();
          assert.ok(!html.includes('ann'), `${path} shows something of the other account`);
          assert.ok(!html.includes(ann.key.prefix), path);
        }
        await theirs.goto(`/usage/${call.id}`);
        assert.equal((await people.fault(theirs.getByRole('main'))).code, '404 not_found');
        await theirs.goto('/admin/accounts');
        await theirs.waitForURL((url) => url.pathname === '/');
        await other.leave();
        await page.goto(`/usage/${call.id}`);
        await page.getByText(call.trace_id).waitFor();
      },
    ),
  );

  it(
    'who log in one after the other in one browser find nothing of the one before',
    visit(
      stage,
      () => ({ browser: ann }),
      async (page, person) => {
        stage.upstream.play(answers('a secret of ann'));
        await page.goto('/');
        await page.getByLabel('Content of message 1').fill('a question of ann');
        await people.tryIt(page);
        await people.untilDone(page);
        await reply(page).getByText('a secret of ann').waitFor();
        await until(() => page.evaluate(() => sessionStorage.length > 0), 'the form to be kept');
        await button(page, 'Log out').click();
        await page.waitForURL('**/login');
        assert.equal(await page.evaluate(() => sessionStorage.length), 0);
        await people.logIn(page, 'bob@example.org');
        await page.waitForURL((url) => url.pathname === '/');
        await page.getByText('bob@example.org').waitFor();
        await person.quiet();
        assert.equal(await page.getByLabel('Content of message 1').inputValue(), 'Hello');
        assert.ok(!(await page.content()).includes('of ann'));
        await page.goBack();
        await page.goBack();
        assert.ok(!(await page.content()).includes('a secret of ann'));
      },
    ),
  );

  it(
    'log-out in one tab ends the other, wherever that is',
    visit(stage, {}, async (page, person) => {
      await page.goto('/login');
      await people.logIn(page, 'ann@example.org');
      await page.waitForURL((url) => url.pathname === '/');
      const [second, third] = [await person.tab(), await person.tab()];
      await second.goto('/keys');
      await second.getByText('the key of ann').waitFor();
      await third.goto('/');
      await third.getByLabel('Content of message 1').fill('a question of ann');
      await button(page, 'Log out').click();
      await page.waitForURL('**/login');
      await second.waitForURL('**/login?next=/keys');
      await button(third, 'Acquire').waitFor();
      await third.getByRole('link', { name: 'Log in', exact: true }).waitFor();
      assert.equal(await third.getByLabel('Content of message 1').inputValue(), 'Hello');
      await people.logIn(second, 'ann@example.org');
      await second.waitForURL('**/keys');
      await second.getByText('the key of ann').waitFor();
      await button(page, 'Log out').waitFor();
    }),
  );

  it(
    'a session that has ended sends its page to the log-in, and back after it',
    visit(stage, { mayFail: [401] }, async (page, person) => {
      await page.goto('/login');
      await people.logIn(page, 'bob@example.org');
      await page.waitForURL((url) => url.pathname === '/');
      await page.getByRole('link', { name: 'Keys', exact: true }).first().click();
      await page.getByRole('heading', { name: 'Keys', level: 1 }).waitFor();
      await person.quiet();
      await person.context.clearCookies();
      await page.getByRole('link', { name: 'Usage', exact: true }).click();
      await page.waitForURL('**/login?next=/usage');
      await people.logIn(page, 'bob@example.org');
      await page.waitForURL('**/usage');
    }),
  );

  it(
    'a person changes name and password, and other browsers are logged out',
    visit(stage, { mayFail: [403] }, async (page) => {
      const eve = await equipped(stage, 'eve@example.org');
      const other = await Person.enter(stage.chromium, stage.server, {
        browser: eve,
        mayFail: [401],
      });
      await page.goto('/login?next=/account');
      await people.logIn(page, 'eve@example.org');
      await page.getByLabel('Name', { exact: true }).fill('Eve');
      await button(page, 'Save').click();
      await page.getByRole('banner').getByText('Eve', { exact: true }).waitFor();
      await page.getByLabel('Old password').fill('wrong wrong wrong');
      await page.getByLabel('New password').fill('another battery staple');
      await button(page, 'Change password').click();
      await people.fault(page.getByRole('main'));
      await page.getByText('The old password is wrong.').waitFor();
      await page.getByLabel('Old password').fill(people.password);
      await button(page, 'Change password').click();
      await page.getByText('The password is changed; other sessions have ended.').waitFor();
      await other.page.goto('/keys');
      await other.page.waitForURL('**/login?next=/keys');
      await people.logIn(other.page, 'eve@example.org', 'another battery staple');
      await other.page.waitForURL('**/keys');
      await other.leave();
    }),
  );
});
