// Keys: made, restricted, rotated, revoked; each secret is shown once.
import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { reply as says } from '../e2e/lib/dialects.mjs';
import { hello } from '../e2e/lib/server.mjs';
import { visit } from './lib/chromium.mjs';
import * as people from './lib/people.mjs';
import { button, code } from './lib/people.mjs';
import { equipped, relayStage } from './lib/stage.mjs';

describe('keys', () => {
  let ann;
  const stage = relayStage(
    async () => {
      ann = await equipped(stage, 'ann@example.org');
    },
    { limits: { key_cache: 0 } },
  );
  const asAnn =
    (more = {}) =>
    () => ({ browser: ann, ...more });
  const chat = (key, more) => stage.server.chat(key, { ...hello, ...more });
  const row = (page, name) => page.getByRole('listitem').filter({ hasText: name });
  before(() => stage.upstream.play(says({ content: ['Yes'] })));

  it(
    'a new one is shown once, copied, works at once, and is gone after a reload',
    visit(stage, asAnn(), async (page, person) => {
      await page.goto('/keys');
      await button(page, 'New key').click();
      await page.getByLabel('Name', { exact: true }).fill('laptop');
      await button(page, 'Make the key').click();
      const dialog = page.getByRole('dialog', { name: 'The new key' });
      await button(dialog, 'Copy').click();
      await button(dialog, 'Copied').waitFor();
      const copied = await person.copied();
      const key = await people.takeKey(page, 'The new key');
      assert.equal(copied, key);
      assert.equal((await chat(key)).status, 200);
      await row(page, 'laptop').getByText(key.slice(0, 9)).waitFor();
      const plain = async () => !(await page.content()).includes(key);
      assert.ok(await plain());
      await page.reload();
      await row(page, 'laptop').waitFor();
      assert.ok(await plain());
      const kept = () =>
        page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
      assert.ok(!(await kept()).includes(key), 'the browser keeps no key');
      await page.goto('/');
      await page
        .getByLabel('authorization')
        .selectOption({ label: `laptop (${key.slice(0, 9)}…)` });
      assert.ok(await code(page).getByRole('checkbox').isDisabled(), 'there is no key to put in');
      await people.tryIt(page);
      await people.untilDone(page);
    }),
  );

  it(
    'are restricted to models, networks and an amount',
    visit(stage, asAnn(), async (page) => {
      await page.goto('/keys');
      await button(page, 'New key').click();
      await page.getByLabel('Name', { exact: true }).fill('narrow');
      await page.getByLabel('Networks', { exact: true }).fill('10.0.0.0/8\n192.168.1.5');
      await page.getByLabel('May spend in all (USD)').fill('0.25');
      await page.getByLabel('Ends after days').fill('30');
      await page.getByRole('dialog').getByLabel('kimi-k2.5', { exact: true }).check();
      await button(page, 'Make the key').click();
      const key = await people.takeKey(page, 'The new key');
      for (const text of ['kimi-k2.5', '10.0.0.0/8', '192.168.1.5', '/ $0.25', 'until '])
        await row(page, 'narrow').getByText(text).first().waitFor();
      const refused = await chat(key);
      assert.equal(refused.json.error.code, 'token_mismatched', refused.text);
      await button(page, 'Change key: narrow').click();
      await page.getByLabel('Networks', { exact: true }).fill('');
      await button(page, 'Save').click();
      await row(page, 'narrow').getByText('10.0.0.0/8').waitFor({ state: 'detached' });
      assert.equal((await chat(key)).status, 200);
      await button(page, 'Change key: narrow').click();
      await page.getByLabel('Disabled', { exact: true }).check();
      await button(page, 'Save').click();
      await row(page, 'narrow').getByText('disabled').waitFor();
      assert.notEqual((await chat(key)).status, 200);
    }),
  );

  it(
    'a wrong restriction is refused in the dialog, which keeps what was typed',
    visit(stage, asAnn({ mayFail: [400] }), async (page) => {
      await page.goto('/keys');
      await button(page, 'New key').click();
      await page.getByLabel('Name', { exact: true }).fill('mistaken');
      await page.getByLabel('Networks', { exact: true }).fill('not a network');
      await button(page, 'Make the key').click();
      const told = await people.fault(page.getByRole('dialog'));
      assert.equal(told.code, '400 bad_request');
      assert.equal(await page.getByLabel('Name', { exact: true }).inputValue(), 'mistaken');
      await page.keyboard.press('Escape');
      await page.getByRole('dialog').waitFor({ state: 'detached' });
    }),
  );

  it(
    'are rotated: a new secret, and the old one works on for an hour',
    visit(stage, asAnn(), async (page) => {
      const made = await ann.post('/console/api/keys', { name: 'turning' });
      await page.goto('/keys');
      await button(page, 'Rotate: turning').click();
      await button(page.getByRole('dialog'), 'Rotate').click();
      const key = await people.takeKey(page, 'The new secret');
      assert.notEqual(key, made.json.token);
      assert.equal((await chat(key)).status, 200);
      assert.equal((await chat(made.json.token)).status, 200);
    }),
  );

  it(
    'are revoked after a question, and then refused',
    visit(stage, asAnn(), async (page) => {
      const made = await ann.post('/console/api/keys', { name: 'short-lived' });
      await page.goto('/keys');
      await button(page, 'Revoke: short-lived').click();
      await button(page.getByRole('dialog'), 'Cancel').click();
      await page.getByRole('dialog').waitFor({ state: 'detached' });
      assert.equal((await chat(made.json.token)).status, 200);
      await button(page, 'Revoke: short-lived').click();
      await button(page.getByRole('dialog'), 'Revoke').click();
      await row(page, 'short-lived').waitFor({ state: 'detached' });
      assert.equal((await chat(made.json.token)).status, 401);
      await page.getByLabel('Show revoked').check();
      await row(page, 'short-lived').getByText('revoked', { exact: true }).waitFor();
    }),
  );

  it(
    'are gone from the playground when they are revoked elsewhere',
    visit(stage, asAnn({ mayFail: [401] }), async (page) => {
      const made = await ann.post('/console/api/keys', { name: 'pulled away' });
      await page.goto('/');
      const choice = page.getByLabel('authorization');
      await choice.selectOption(String(made.json.id)).catch(() => {});
      await ann.send('DELETE', `/console/api/keys/${made.json.id}`);
      await people.tryIt(page);
      await people.fault(people.reply(page));
      await page.reload();
      await choice
        .locator('option')
        .filter({ hasText: 'mg-' })
        .first()
        .waitFor({ state: 'attached' });
      assert.equal(await choice.locator('option').filter({ hasText: 'pulled away' }).count(), 0);
    }),
  );
});
