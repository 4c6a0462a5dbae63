// axe-core finds nothing serious on any page, in light and dark, and in the states that a page has:
// dialogs, a reply, an error.
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { createRequire } from 'node:module';
import { reply as says, refuse } from '../e2e/lib/dialects.mjs';
import { visit } from './lib/chromium.mjs';
import { complete, furnished, pages } from './lib/everywhere.mjs';
import * as people from './lib/people.mjs';
import { button, reply } from './lib/people.mjs';

const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

/** What axe finds that is serious or critical, in light and dark, with where it is. */
async function grave(page, exclude = []) {
  const found = [];
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    for (const one of await page.evaluate(look, exclude)) found.push({ colorScheme, ...one });
  }
  return found.filter((one) => one.impact === 'serious' || one.impact === 'critical');
}

/** Runs in the page. */
async function look(exclude) {
  const where = { include: [['html']], exclude: exclude.map((at) => [at]) };
  const { violations } = await globalThis.axe.run(where, { resultTypes: ['violations'] });
  return violations.map(({ id, impact, help, nodes }) => ({
    id,
    impact,
    help,
    nodes: nodes.slice(0, 4).map((n) => `${n.html.slice(0, 160)} | ${n.any[0]?.message ?? ''}`),
  }));
}

const check = async (page, what, exclude) => assert.deepEqual(await grave(page, exclude), [], what);

describe('accessibility', () => {
  const stage = furnished();
  const looking = (options, work) =>
    visit(stage, options, async (page, person) => {
      await person.context.addInitScript({ path: axe });
      await work(page, person);
    });
  const asRoot =
    (more = {}) =>
    () => ({ browser: stage.root, ...more });
  after(() => stage.running?.response.destroy());

  for (const admin of [false, true]) {
    it(
      `of the pages ${admin ? 'of an administrator' : 'before a log-in'}`,
      looking(admin ? asRoot() : () => ({}), async (page, person) => {
        const found = [];
        for (const { name, path } of pages.filter((p) => Boolean(p.admin) === admin)) {
          await page.goto('about:blank');
          await page.goto(path(stage));
          await complete(person);
          for (const one of await grave(page)) found.push({ page: name, ...one });
        }
        assert.deepEqual(found, []);
      }),
    );
  }

  it(
    'of the API reference',
    looking(
      () => ({}),
      async (page, person) => {
        await page.goto('/docs');
        await page.getByText('/kimi/chat/completions').first().waitFor();
        await person.quiet();
        // Scalar's boxes of code scroll; Chromium and Firefox let the keyboard into them.
        await check(page, 'the reference', ['.scalar-card-content']);
      },
    ),
  );

  it(
    'of a reply, its raw sides, parameters and code',
    looking(asRoot(), async (page) => {
      stage.upstream.play(says({ reasoning: ['Hm.'], content: ['Good day'] }));
      await page.goto('/');
      await page.getByText('Parameters', { exact: true }).click();
      await people.tryIt(page);
      await people.untilDone(page);
      await reply(page).locator('summary').click();
      await check(page, 'a reply');
      for (const tab of ['Request', 'Response']) {
        await page.getByRole('tab', { name: tab }).click();
        await check(page, tab);
      }
    }),
  );

  it(
    'of errors',
    looking(asRoot({ mayFail: [401, 502] }), async (page, person) => {
      stage.upstream.play(refuse(500));
      await page.goto('/');
      await people.tryIt(page);
      await people.fault(reply(page));
      await check(page, 'a failed call');
      await person.context.clearCookies();
      await page.goto('/login');
      await people.logIn(page, 'root@example.org', 'not the right one');
      await people.fault(page.getByRole('main'));
      await check(page, 'a wrong password');
    }),
  );

  it(
    'of dialogs',
    looking(asRoot(), async (page) => {
      const open = async (path, name) => {
        await page.goto(path);
        await button(page, name).click();
        await page.getByRole('dialog').waitFor();
        await check(page, `${path} ${name}`);
      };
      await open('/keys', 'New key');
      await page.getByLabel('Name', { exact: true }).fill('checked');
      await button(page, 'Make the key').click();
      await page.getByRole('dialog', { name: 'The new key' }).waitFor();
      await check(page, 'a new key');
      await open('/keys', 'Revoke: key 1');
      await open('/admin/accounts', 'Invite');
      await open('/admin/accounts', 'Add account');
      await open(`/admin/accounts/${stage.user.id}`, 'Link for a new password');
    }),
  );
});
