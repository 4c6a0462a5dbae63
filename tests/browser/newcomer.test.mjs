// The tutorial's whole way as a newcomer goes it: Acquire, sign up on the way, come back, Try, copy
// the code, run it, and find both calls in the usage.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { describe, it } from 'node:test';
import { someone } from '../e2e/lib/console.mjs';
import { visit } from './lib/chromium.mjs';
import * as people from './lib/people.mjs';
import { button, code, reply } from './lib/people.mjs';
import { stageFor } from './lib/stage.mjs';

function shell(text, env = {}) {
  return new Promise((resolve) => {
    execFile('bash', ['-c', text], { env: { ...process.env, ...env } }, (error, stdout, stderr) =>
      resolve({ code: error ? error.code : 0, stdout, stderr }),
    );
  });
}

const words = (stdout) =>
  stdout
    .split('\n')
    .filter((line) => line.startsWith('data: {'))
    .flatMap((line) => JSON.parse(line.slice(6)).choices)
    .map((choice) => choice.delta.content ?? '')
    .join('');

describe('a newcomer', () => {
  const stage = stageFor({ set: { 'quota.list_prices': true } }, () =>
    someone(stage.server, 'known@example.org'),
  );

  it(
    'signs up on the way to a key, tries, runs the copied code, and sees what it cost',
    visit(stage, {}, async (page, person) => {
      await page.goto('/');
      await button(page, 'Acquire').click();
      await page.waitForURL('**/sign-up?**');
      await people.signUp(page, 'new@example.org');
      const key = await people.takeKey(page, 'Your first key');
      assert.equal(new URL(page.url()).pathname, '/');
      await page.getByText('Balance: $1.00').waitFor();

      await people.tryIt(page);
      await people.untilDone(page);
      const said = await reply(page).locator('.content').innerText();
      assert.ok(said.trim().length > 0);
      const trace = await reply(page).locator('.trace code').innerText();
      for (const fact of [
        'Prompt tokens',
        'Reply tokens',
        'First token',
        'Speed',
        'Cost',
        'Balance after',
      ])
        await reply(page).getByText(fact, { exact: true }).waitFor();

      assert.ok(
        !(await code(page).innerText()).includes(key),
        'the key is shown only when asked for',
      );
      await button(code(page), 'Copy code').click();
      const plain = await person.copied();
      const first = await shell(plain, { MOONGATE_API_KEY: key });
      assert.equal(first.code, 0, first.stderr);
      assert.match(first.stdout, /^data: \[DONE\]$/m);
      assert.ok(words(first.stdout).length > 0, first.stdout);
      await code(page).getByRole('checkbox').check();
      await button(code(page), 'Copied').waitFor({ state: 'detached' });
      await button(code(page), 'Copy code').click();
      const second = await shell(await person.copied());
      assert.ok(words(second.stdout).length > 0, second.stdout + second.stderr);

      await page.getByRole('link', { name: 'Usage', exact: true }).click();
      const rows = page.getByRole('region', { name: 'Calls' }).locator('tbody tr');
      await rows.nth(2).waitFor();
      assert.equal(await rows.count(), 3);
      await page.getByLabel('Trace id').fill(trace);
      await page.getByLabel('Trace id').press('Enter');
      await rows.nth(1).waitFor({ state: 'detached' });
      await rows.first().getByRole('link').click();
      await page.getByText(trace, { exact: true }).waitFor();
      await page.getByText('playground', { exact: true }).waitFor();
      await page.getByText('Where the time went').waitFor();
    }),
  );

  it(
    'is led from the first page of the guide to a key',
    visit(stage, {}, async (page) => {
      await page.goto('/start');
      await page.getByRole('link', { name: 'Acquire' }).click();
      await page.waitForURL('**/sign-up?**');
      await people.signUp(page, 'guided@example.org');
      await people.takeKey(page, 'Your first key');
      assert.equal(new URL(page.url()).pathname, '/');
    }),
  );

  it(
    'logs in on the way and is back where it was',
    visit(stage, {}, async (page) => {
      await page.goto('/usage');
      await page.waitForURL('**/login?next=/usage');
      await people.logIn(page, 'known@example.org');
      await page.waitForURL('**/usage');
      await page.getByRole('heading', { name: 'Usage', level: 1 }).waitFor();
    }),
  );

  it(
    'who had an account already goes by the log-in to Acquire, and comes back',
    visit(stage, {}, async (page) => {
      await page.goto('/');
      await button(page, 'Acquire').click();
      await page.getByRole('link', { name: 'Have an account? Log in' }).click();
      await people.logIn(page, 'known@example.org');
      await people.takeKey(page, 'Your first key');
      assert.equal(new URL(page.url()).pathname, '/');
    }),
  );

  it(
    'is told of a wrong password, and what was typed stays',
    visit(stage, { mayFail: [401] }, async (page) => {
      await page.goto('/login');
      await people.logIn(page, 'known@example.org', 'not the right one');
      const { words: said, code: name } = await people.fault(page.getByRole('main'));
      assert.equal(said, 'The address or the password is wrong.');
      assert.equal(name, '401 invalid_token');
      assert.equal(await page.getByLabel('E-mail address').inputValue(), 'known@example.org');
      await people.logIn(page, 'known@example.org');
      await button(page, 'Log out').waitFor();
    }),
  );
});
