// The console without a mouse.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { reply as says } from '../e2e/lib/dialects.mjs';
import { visit } from './lib/chromium.mjs';
import * as people from './lib/people.mjs';
import { button, reply } from './lib/people.mjs';
import { equipped, relayStage } from './lib/stage.mjs';

describe('the keyboard', () => {
  let ann;
  const stage = relayStage(async () => {
    ann = await equipped(stage, 'ann@example.org');
    stage.upstream.play(says({ content: ['By keys alone'] }));
  });
  const focused = (page) =>
    page.evaluate(() => {
      const e = document.activeElement;
      return e.getAttribute('aria-label') ?? e.innerText ?? e.tagName;
    });

  it(
    'skips to the content, sends with Ctrl+Enter, and changes tabs with arrows',
    visit(
      stage,
      () => ({ browser: ann }),
      async (page) => {
        await page.goto('/');
        await button(page, 'Try').waitFor();
        await page.keyboard.press('Tab');
        assert.equal(await focused(page), 'Skip to content');
        await page.keyboard.press('Enter');
        assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
        await page.getByLabel('Content of message 1').focus();
        await page.keyboard.type('!');
        await page.locator('button[type=submit]:not([disabled])').waitFor();
        await page.keyboard.press('Control+Enter');
        await people.untilDone(page);
        await reply(page).getByText('By keys alone').waitFor();
        await page.getByRole('tab', { name: 'Reply', exact: true }).focus();
        await page.keyboard.press('ArrowRight');
        assert.equal(await focused(page), 'Request');
        assert.equal(
          await page.getByRole('tab', { name: 'Request' }).getAttribute('aria-selected'),
          'true',
        );
        await page.keyboard.press('End');
        assert.equal(await focused(page), 'Response');
      },
    ),
  );

  it(
    'stays in a dialog until Escape, and is back where it came from',
    visit(
      stage,
      () => ({ browser: ann }),
      async (page) => {
        await page.goto('/keys');
        await button(page, 'New key').focus();
        await page.keyboard.press('Enter');
        await page.getByRole('dialog').waitFor();
        for (let i = 0; i < 20; i++) {
          await page.keyboard.press('Tab');
          const outside = await page.evaluate(() => {
            const e = document.activeElement;
            return e !== document.body && !e.closest('dialog') ? e.outerHTML : null;
          });
          assert.equal(outside, null);
        }
        await page.keyboard.press('Escape');
        await page.getByRole('dialog').waitFor({ state: 'detached' });
        assert.equal(await focused(page), 'New key');
      },
    ),
  );

  it(
    'is at the beginning of a new page, whose title tells what it is',
    visit(
      stage,
      () => ({ browser: ann }),
      async (page) => {
        await page.goto('/');
        await page.getByRole('link', { name: 'Keys', exact: true }).first().focus();
        await page.keyboard.press('Enter');
        await page.getByRole('heading', { name: 'Keys', level: 1 }).waitFor();
        assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
        assert.equal(await page.title(), 'Keys · moongate');
      },
    ),
  );
});
