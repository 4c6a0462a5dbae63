// Usage: the balance, the charts' numbers, the calls with filter and pages, CSV.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { reply as says } from '../e2e/lib/dialects.mjs';
import { hello, until } from '../e2e/lib/server.mjs';
import { visit } from './lib/chromium.mjs';
import { button } from './lib/people.mjs';
import { equipped, relayStage } from './lib/stage.mjs';

const CALLS = 30; // of 11 + 7 tokens, which cost 11 + 14 millionths
const FAILED = 2;

describe('usage', () => {
  let ann;
  const stage = relayStage(async () => {
    ann = await equipped(stage, 'ann@example.org');
    const other = await ann.post('/console/api/keys', { name: 'the other key' });
    const keys = [ann.secret, other.json.token];
    stage.upstream.play(says());
    for (let i = 0; i < CALLS; i++) await stage.server.chat(keys[i % 3 ? 0 : 1], hello);
    stage.upstream.play((request, wire) => wire.whole(500, '{}'));
    for (let i = 0; i < FAILED; i++) await stage.server.chat(ann.secret, hello);
    await until(async () => {
      const { json } = await ann.get('/console/api/usage?limit=1');
      return json.count === CALLS + FAILED;
    }, 'all calls');
  });
  const asAnn = () => ({ browser: ann });
  const rows = (page) => page.getByRole('region', { name: 'Calls' }).locator('tbody tr');

  it(
    'adds up',
    visit(stage, asAnn, async (page) => {
      await page.goto('/usage');
      const spent = `$${((CALLS * 25) / 1e6).toFixed(6).replace(/0+$/, '')}`;
      await page.getByText(spent, { exact: true }).first().waitFor();
      await page
        .getByText(String(CALLS * 18), { exact: true })
        .first()
        .waitFor();
      await page.getByText('the other key').first().waitFor();
      const days = page.getByRole('table', { name: 'Tokens by day' }).locator('tbody tr');
      assert.equal(await days.count(), 30);
      await page.getByLabel('Span of time').selectOption('7');
      await days.nth(7).waitFor({ state: 'detached' });
      assert.equal(await days.last().locator('td').last().innerText(), String(CALLS * 18));
    }),
  );

  it(
    'shows the calls in pages, and filters them',
    visit(stage, asAnn, async (page) => {
      await page.goto('/usage');
      await rows(page).nth(24).waitFor();
      assert.equal(await rows(page).count(), 25);
      await page.getByText(`1 to 25 of ${CALLS + FAILED}`).waitFor();
      await button(page, 'Older').click();
      await page.getByText(`26 to ${CALLS + FAILED} of ${CALLS + FAILED}`).waitFor();
      assert.equal(await rows(page).count(), CALLS + FAILED - 25);
      assert.ok(await button(page, 'Older').isDisabled());
      await page.getByLabel('Status').selectOption('502');
      await rows(page).nth(FAILED).waitFor({ state: 'detached' });
      assert.equal(await rows(page).count(), FAILED);
      await page.getByLabel('Status').selectOption('');
      const key = page.getByLabel('Key', { exact: true });
      const option = await key
        .locator('option')
        .filter({ hasText: 'the other key' })
        .getAttribute('value');
      await key.selectOption(option);
      await rows(page).nth(10).waitFor({ state: 'detached' });
      assert.equal(await rows(page).count(), CALLS / 3);
    }),
  );

  it(
    'is exported as CSV, filtered as it is shown',
    visit(stage, asAnn, async (page) => {
      await page.goto('/usage');
      await page.getByLabel('Status').selectOption('502');
      await rows(page).nth(FAILED).waitFor({ state: 'detached' });
      const [download] = await Promise.all([
        page.waitForEvent('download'),
        page.getByRole('link', { name: 'Export CSV' }).click(),
      ]);
      const lines = (await readFile(await download.path(), 'utf8')).trim().split('\r\n');
      assert.equal(lines.length, 1 + FAILED, lines.join('\n'));
    }),
  );
});
