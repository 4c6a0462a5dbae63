// Administration: accounts, grants, limits, models, backends and calls, as an administrator works
// with them; and what they mean for the people concerned.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { begin, reply as says, refuse } from '../e2e/lib/dialects.mjs';
import { hello, until } from '../e2e/lib/server.mjs';
import { Person, visit } from './lib/chromium.mjs';
import * as people from './lib/people.mjs';
import { button } from './lib/people.mjs';
import { equipped, relayStage, stageFor } from './lib/stage.mjs';

describe('an administrator', () => {
  let root, ann, bea;
  const stage = relayStage(async () => {
    root = await equipped(stage, 'root@example.org', { admin: true });
    ann = await equipped(stage, 'ann@example.org');
    bea = await equipped(stage, 'bea@example.org');
  });
  const asRoot =
    (more = {}) =>
    () => ({ browser: root, ...more });
  const secretOf = async (page, title) => {
    const dialog = page.getByRole('dialog', { name: title });
    const secret = await dialog.locator('code').innerText();
    await dialog.locator('.end').getByRole('button').click();
    return secret;
  };

  it(
    'makes an account, whose owner must set a password of their own',
    visit(stage, asRoot(), async (page) => {
      await page.goto('/');
      await page.getByRole('link', { name: 'Administration' }).click();
      await button(page, 'Add account').click();
      await page.getByRole('dialog').getByLabel('E-mail address').fill('made@example.org');
      await button(page, 'Make').click();
      const oneTime = await secretOf(page, 'The account is made');
      await page.getByRole('link', { name: 'made@example.org' }).waitFor();

      const other = await Person.enter(stage.chromium, stage.server, {});
      await other.page.goto('/login');
      await people.logIn(other.page, 'made@example.org', oneTime);
      await other.page.waitForURL('**/account');
      await other.page.goto('/keys');
      await other.page.waitForURL('**/account');
      await other.page.getByLabel('Old password').fill(oneTime);
      await other.page.getByLabel('New password').fill('my very own sentence');
      await button(other.page, 'Change password').click();
      await other.page.waitForURL((url) => url.pathname === '/');
      await other.leave();
    }),
  );

  it(
    'invites by a link, which works once',
    visit(stage, asRoot(), async (page) => {
      await page.goto('/admin/accounts');
      await button(page, 'Invite').click();
      await page.getByRole('dialog').getByLabel('E-mail address').fill('guest@example.org');
      await button(page, 'Make').click();
      const link = await secretOf(page, 'The invitation');
      const other = await Person.enter(stage.chromium, stage.server, {
        mayFail: [400, 401, 403, 404, 409],
      });
      await other.page.goto(link);
      await people.signUp(other.page, 'guest@example.org');
      await button(other.page, 'Log out').waitFor();
      await other.leave();
    }),
  );

  it(
    'hands out a link for a new password, and the old one is over',
    visit(stage, asRoot(), async (page) => {
      await equipped(stage, 'lost@example.org');
      await page.goto('/admin/accounts');
      await page.getByLabel('Search by address').fill('lost');
      await button(page, 'Find').click();
      await page.getByRole('link', { name: 'ann@example.org' }).waitFor({ state: 'detached' });
      await page.getByRole('link', { name: 'lost@example.org' }).click();
      await button(page, 'Link for a new password').click();
      const link = await secretOf(page, 'Forgotten password');
      const other = await Person.enter(stage.chromium, stage.server, { mayFail: [401] });
      await other.page.goto(link);
      await other.page.getByLabel('New password').fill('found again at last');
      await button(other.page, 'Save').click();
      await other.page.waitForURL('**/login?fresh=1');
      await people.logIn(other.page, 'lost@example.org');
      await people.fault(other.page.getByRole('main'));
      await people.logIn(other.page, 'lost@example.org', 'found again at last');
      await other.page.waitForURL((url) => url.pathname === '/');
      await other.leave();
    }),
  );

  it(
    'grants, sets limits, disables and enables',
    visit(stage, asRoot(), async (page) => {
      stage.upstream.play(says({ content: ['Yes'] }));
      await page.goto(`/admin/accounts/${ann.id}`);
      await page.getByLabel('Amount (USD)').fill('2.50');
      await page.getByLabel('Note').fill('for the workshop');
      await page.getByLabel('Ends after days').fill('7');
      await button(page, 'Grant').click();
      await page.getByRole('cell', { name: 'for the workshop' }).waitFor();
      await page.getByText('$3.50', { exact: true }).first().waitFor();
      const { json } = await ann.get('/console/api/application');
      assert.equal(json.remaining_amount, 3.5);

      await page.getByLabel('Requests a minute').fill('1');
      await button(page, 'Save').click();
      const limited = () => stage.server.chat(ann.secret, hello);
      await until(async () => (await limited()).status === 429, 'the limit to hold');
      await page.getByLabel('Requests a minute').fill('0');
      await button(page, 'Save').click();
      await until(async () => (await limited()).status === 200, 'the limit to be gone');

      await button(page, 'Disable').click();
      await button(page, 'Enable').waitFor();
      await until(async () => (await limited()).status !== 200, 'the account to be disabled');
      await button(page, 'Enable').click();
      await button(page, 'Disable').waitFor();
      await until(async () => (await limited()).status === 200, 'the account to be enabled');
    }),
  );

  it(
    'sees the calls that run, and ends one',
    visit(stage, asRoot(), async (page) => {
      stage.upstream.play(begin((request, wire) => wire.stall()));
      const running = await stage.server.openChat(ann.secret, hello);
      await page.goto('/admin/calls');
      const row = page.getByRole('row').filter({ hasText: 'kimi-k2.5' });
      await row.getByRole('button').click();
      await button(page.getByRole('dialog'), 'End').click();
      await page.getByText('No calls are running.').waitFor();
      const { text } = await running.end;
      assert.match(text, /"forbidden"/);
    }),
  );

  it(
    'sees models with their prices, and the backends behind them',
    visit(stage, asRoot(), async (page) => {
      await page.goto('/admin/models');
      const row = page.getByRole('row').filter({ hasText: 'kimi-k2.5' });
      await row.getByText('$2.00').waitFor();
      await row.getByText('up', { exact: true }).waitFor();
      await page.goto('/admin/backends');
      await page.getByText('healthy').waitFor();
      assert.equal(await page.getByText('demonstration').count(), 0, 'a real backend serves');
    }),
  );

  it(
    'is a person with the role: others find no such pages',
    visit(
      stage,
      () => ({ browser: bea }),
      async (page) => {
        await page.goto('/admin/accounts');
        await page.waitForURL((url) => url.pathname === '/');
        assert.equal(await page.getByRole('link', { name: 'Administration' }).count(), 0);
      },
    ),
  );
});

describe('a backend that fails', () => {
  let root;
  const stage = relayStage(
    async () => {
      root = await equipped(stage, 'root@example.org', { admin: true });
    },
    { routing: { tries: 1, failures: 1, open: '1h', open_max: '1h' } },
  );

  it(
    'is seen with its circuit open, live',
    visit(
      stage,
      () => ({ browser: root }),
      async (page) => {
        await page.goto('/admin/backends');
        await page.getByText('healthy').waitFor();
        stage.upstream.play(refuse(500));
        await stage.server.chat(root.secret, hello);
        await page.getByText('circuit open').waitFor();
        await page.getByText(/Left out after 1 failures/).waitFor();
      },
    ),
  );
});

describe('the built-in model', () => {
  let root;
  const stage = stageFor({}, async () => {
    root = await equipped(stage, 'root@example.org', { admin: true });
  });

  it(
    'is said to be a demonstration while nothing else serves',
    visit(
      stage,
      () => ({ browser: root }),
      async (page) => {
        await page.goto('/admin/models');
        await page.getByText(/Only the built-in model .* serves now/).waitFor();
        await page
          .getByRole('row')
          .filter({ hasText: 'kimi-k2.5' })
          .getByText('demonstration')
          .waitFor();
        await page.goto('/');
        await page.getByText(/only a demonstration of the API/).waitFor();
      },
    ),
  );
});
