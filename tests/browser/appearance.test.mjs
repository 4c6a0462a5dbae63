// Languages, light and dark, and narrow screens.
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { reply as says } from '../e2e/lib/dialects.mjs';
import { visit } from './lib/chromium.mjs';
import { complete, furnished, pages } from './lib/everywhere.mjs';
import * as people from './lib/people.mjs';
import { button } from './lib/people.mjs';

const NARROW = 360;

describe('the looks of the console', () => {
  const stage = furnished();
  const asRoot =
    (more = {}) =>
    () => ({ browser: stage.root, ...more });
  after(() => stage.running?.response.destroy());

  for (const [locale, lang, heading] of [
    ['en-GB', 'en', 'Log in'],
    ['zh-TW', 'zh-Hant', '登入'],
    ['zh-HK', 'zh-Hant', '登入'],
    ['zh-CN', 'zh-Hans', '登录'],
    ['fr-FR', 'en', 'Log in'],
  ]) {
    it(
      `a browser of ${locale} is shown ${lang}`,
      visit(stage, { locale }, async (page) => {
        await page.goto('/login');
        await page.getByRole('heading', { name: heading, level: 1 }).waitFor();
        assert.equal(await page.evaluate(() => document.documentElement.lang), lang);
      }),
    );
  }

  it(
    'the language is switched without a reload, and kept',
    visit(stage, {}, async (page) => {
      await page.goto('/');
      await page.getByLabel('Content of message 1').fill('kept while switching');
      await page.getByLabel('Language', { exact: true }).selectOption('zh-Hant');
      await page.getByRole('link', { name: '登入', exact: true }).waitFor();
      assert.equal(await page.locator('textarea').first().inputValue(), 'kept while switching');
      assert.equal(await page.evaluate(() => document.documentElement.lang), 'zh-Hant');
      await page.reload();
      await page.getByRole('combobox').filter({ hasText: '繁體中文' }).selectOption('zh-Hans');
      await page.waitForFunction(() => document.documentElement.lang === 'zh-Hans');
      await page.reload();
      await page.waitForFunction(() => document.documentElement.lang === 'zh-Hans');
      await page.getByRole('combobox').filter({ hasText: '简体中文' }).selectOption('en');
      await button(page, 'Acquire').waitFor();
    }),
  );

  const brightness = (page) =>
    page.evaluate(() => {
      const [r, g, b] = getComputedStyle(document.body)
        .backgroundColor.match(/[\d.]+/g)
        .map(Number);
      return (r + g + b) / 3;
    });

  it(
    'dark where the system is dark, until a person chooses',
    visit(stage, { dark: true }, async (page) => {
      await page.goto('/');
      await button(page, 'Acquire').waitFor();
      assert.ok((await brightness(page)) < 60);
      await page.getByLabel('Appearance').selectOption('light');
      assert.ok((await brightness(page)) > 200);
      await page.reload();
      await button(page, 'Acquire').waitFor();
      assert.ok((await brightness(page)) > 200, 'the choice is kept');
      await page.getByLabel('Appearance').selectOption('auto');
      assert.ok((await brightness(page)) < 60);
    }),
  );

  it(
    'light where the system is light, until a person chooses',
    visit(stage, {}, async (page) => {
      await page.goto('/');
      await button(page, 'Acquire').waitFor();
      assert.ok((await brightness(page)) > 200);
      await page.getByLabel('Appearance').selectOption('dark');
      assert.ok((await brightness(page)) < 60);
    }),
  );

  /** What reaches beyond the right edge and can be scrolled to: nothing, one hopes. */
  const beyond = (page) =>
    page.evaluate(() => {
      const width = document.documentElement.clientWidth;
      if (document.documentElement.scrollWidth <= width) return null;
      const wide = [...document.body.querySelectorAll('*')].filter(
        (e) => e.getBoundingClientRect().right > width + 0.5,
      );
      const list = wide.slice(0, 5).map((e) => e.outerHTML.slice(0, 120));
      return `${document.documentElement.scrollWidth}: ${list.join('\n')}`;
    });

  for (const locale of ['en-US', 'zh-TW']) {
    for (const admin of [false, true]) {
      it(
        `a screen of ${NARROW} px is enough in ${locale}, ${admin ? 'for an administrator' : 'before a log-in'}`,
        visit(
          stage,
          () => ({ locale, width: NARROW, height: 740, ...(admin ? { browser: stage.root } : {}) }),
          async (page, person) => {
            for (const one of pages.filter((p) => Boolean(p.admin) === admin)) {
              await page.goto('about:blank');
              await page.goto(one.path(stage));
              await complete(person);
              assert.equal(await beyond(page), null, one.name);
            }
          },
        ),
      );
    }
  }

  it(
    'the playground works on a narrow screen, with a long reply without spaces',
    visit(stage, asRoot({ width: NARROW, height: 740 }), async (page) => {
      stage.upstream.play(says({ content: ['x'.repeat(3000), ' the end'] }));
      await page.goto('/');
      await page.getByText('Parameters', { exact: true }).click();
      await people.tryIt(page);
      await people.untilDone(page);
      await people.reply(page).getByText('the end').waitFor();
      assert.equal(await beyond(page), null, 'a reply');
      for (const tab of ['Request', 'Response']) {
        await page.getByRole('tab', { name: tab }).click();
        assert.equal(await beyond(page), null, tab);
      }
      await page.goto('/keys');
      await button(page, 'New key').click();
      const box = await page.getByRole('dialog').boundingBox();
      assert.ok(box.x >= 0 && box.x + box.width <= NARROW, 'the dialog fits');
      assert.equal(await beyond(page), null, 'a dialog');
    }),
  );
});
