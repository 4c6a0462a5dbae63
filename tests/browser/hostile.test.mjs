// Hostile content stays text: HTML, script, control characters, marks that turn the order of
// letters around, and a megabyte of it, in a reply, a message, a key's name, an account's name and
// a model's name.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { reply as says } from '../e2e/lib/dialects.mjs';
import { hello, until } from '../e2e/lib/server.mjs';
import { visit } from './lib/chromium.mjs';
import { complete } from './lib/everywhere.mjs';
import * as people from './lib/people.mjs';
import { button, code, reply } from './lib/people.mjs';
import { equipped, priced, relayStage } from './lib/stage.mjs';

const markup = `<img src=x onerror="window.hurt=1"><script>window.hurt=2</script><b>&lt;</b>`;
const turned = '\u202egnp.exe\u2066\u200f';
const template = '{{ constructor.constructor("window.hurt=3")() }}${window.hurt=4}';
const control = '\u0007\u001b[31m\u0085\u009b';
const closing = '`*/ --></textarea></script></pre>\'"; window.hurt=5 //\\u0022\\';
const hostile = `${markup}${turned}${template}${control}${closing}`;

/** As much of it as a name may have. */
const name = `<img src=x onerror=window.hurt=1>${turned}"><script>`;
const model = '<img/src=x/onerror=window.hurt=1>\u202ex';

const MEGABYTE = 1_000_000;

async function unharmed(page, what) {
  const found = await page.evaluate(() => ({
    hurt: globalThis.hurt,
    images: document.querySelectorAll('img[src="x"], img[onerror]').length,
    scripts: [...document.scripts].filter((s) => !s.src).length,
    bold: document.querySelectorAll('main b').length,
  }));
  assert.deepEqual(found, { hurt: undefined, images: 0, scripts: 0, bold: 0 }, what);
}

/** Every text with a mark that turns the order stands in an element that keeps it to itself. */
async function isolated(page, what) {
  const loose = await page.evaluate(() => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const loose = [];
    while (walker.nextNode()) {
      const node = walker.currentNode;
      if (!node.data.includes('\u202e')) continue;
      const box = node.parentElement;
      if (box.closest('option, textarea, script')) continue;
      const style = (e) => getComputedStyle(e);
      const alone = (e) =>
        e.textContent.trim() === node.data.trim() && style(e).display !== 'inline';
      let held = false;
      for (let e = box; e && e !== document.body && !held; e = e.parentElement)
        held = /isolate|plaintext/.test(style(e).unicodeBidi) || alone(e);
      if (!held) loose.push(box.outerHTML.slice(0, 200));
    }
    return loose;
  });
  assert.deepEqual(loose, [], what);
}

const long = (page) => page.evaluate((at) => document.querySelector(at).textContent, '.content');

describe('hostile content', () => {
  let ann, root;
  const models = [
    { id: 'kimi-k2.5', like: 'kimi-k2.5', ...priced, backends: [{ name: 'up' }] },
    { id: model, like: 'kimi-k2.5', ...priced, backends: [{ name: 'up' }] },
  ];
  const stage = relayStage(
    async () => {
      ann = await equipped(stage, 'ann@example.org');
      root = await equipped(stage, 'root@example.org', { admin: true });
      for (const one of [ann, root]) {
        const named = await one.patch('/console/api/me', { name });
        assert.equal(named.status, 200, named.text);
        const key = await one.patch(`/console/api/keys/${one.key.id}`, { name });
        assert.equal(key.status, 200, key.text);
      }
      stage.upstream.play(says({ content: [hostile] }));
      await stage.server.chat(root.secret, { ...hello, model });
      await until(
        async () => (await root.get('/console/api/usage')).json.items.length > 0,
        'the call',
      );
    },
    { models },
  );
  const asRoot =
    (more = {}) =>
    () => ({ browser: root, ...more });

  for (const stream of [true, false]) {
    it(
      `in a ${stream ? 'stream' : 'whole reply'} is shown letter by letter, and copied so`,
      visit(stage, asRoot(), async (page, person) => {
        const parts = hostile.match(/[^]{1,7}/gu);
        stage.upstream.play(says({ reasoning: [hostile], content: parts }));
        await page.goto('/');
        if (!stream) await page.getByRole('switch').uncheck();
        await people.tryIt(page);
        await people.untilDone(page);
        assert.equal(await long(page), hostile);
        await reply(page).locator('summary').click();
        await unharmed(page, 'the reply');
        await isolated(page, 'the reply');
        await button(reply(page), 'Copy').first().click();
        await button(reply(page), 'Copied').waitFor();
        assert.equal(await person.copied(), hostile);
        for (const tab of ['Request', 'Response']) {
          await page.getByRole('tab', { name: tab }).click();
          await unharmed(page, tab);
        }
        await page.getByRole('tab', { name: 'Reply', exact: true }).click();
        await button(reply(page), 'Add to the messages and go on').click();
        assert.equal(await page.getByLabel('Content of message 2').inputValue(), hostile);
        await unharmed(page, 'the messages');
        const ids = await page
          .locator('[id^="code-panel-"]')
          .evaluateAll((tabs) => tabs.map((t) => t.id.slice(11)));
        for (const id of ids) {
          const text = await people.codeOf(page, id);
          await unharmed(page, id);
          assert.ok(
            !/[\u202a-\u202e\u2066-\u2069\u0007\u001b]/.test(text),
            `${id}: nothing unseen in code`,
          );
        }
      }),
    );
  }

  it(
    'in an error of an upstream is shown as text, or not at all',
    visit(stage, asRoot({ mayFail: [400, 500, 502] }), async (page) => {
      stage.upstream.play((request, wire) =>
        wire.whole(400, {
          error: { message: hostile, type: 'invalid_request_error', code: markup },
        }),
      );
      await page.goto('/');
      await people.tryIt(page);
      await people.fault(reply(page));
      await unharmed(page, 'the error');
      await isolated(page, 'the error');
    }),
  );

  it(
    'in names stays text on every page that shows them',
    visit(stage, asRoot(), async (page, person) => {
      const { json } = await root.get('/console/api/usage');
      const texts = {
        '/': [],
        '/keys': [name],
        '/usage': [name, model],
        [`/usage/${json.items.find((call) => call.model === model).id}`]: [name, model],
        '/account': [],
        '/admin/accounts': [name],
        [`/admin/accounts/${ann.id}`]: [name],
        '/admin/models': [model],
      };
      for (const [path, shown] of Object.entries(texts)) {
        await page.goto(path);
        await complete(person);
        for (const text of shown)
          await page
            .getByRole('main')
            .locator('bdi')
            .getByText(text, { exact: true })
            .first()
            .waitFor();
        await unharmed(page, path);
        await isolated(page, path);
      }
      await page.goto('/keys');
      for (const act of ['Change key', 'Rotate', 'Revoke']) {
        await page.getByRole('button', { name: `${act}: <img` }).click();
        await page.getByRole('dialog').waitFor();
        await unharmed(page, act);
        await page.keyboard.press('Escape');
      }
    }),
  );

  it(
    'as a name that is too long or has control characters is refused by the server',
    visit(stage, {}, async () => {
      for (const bad of ['x'.repeat(MEGABYTE), control]) {
        assert.equal((await root.patch('/console/api/me', { name: bad })).status, 400);
        assert.equal((await root.post('/console/api/keys', { name: bad })).status, 400);
      }
    }),
  );

  it(
    'in a model that a person types is sent as it is, and told as unknown',
    visit(stage, asRoot({ mayFail: [400, 404] }), async (page) => {
      stage.upstream.play(says({ content: [hostile] }));
      await page.goto('/');
      await page.locator('select#model').selectOption(model);
      await people.tryIt(page);
      await people.untilDone(page);
      await unharmed(page, 'the model');
      assert.ok((await people.codeOf(page, 'curl')).includes('onerror'));
    }),
  );

  it(
    'a reply of a megabyte is shown whole, and the page goes on answering',
    visit(stage, asRoot(), async (page) => {
      const piece = `${hostile} `.repeat(20);
      const parts = Array.from({ length: Math.ceil(MEGABYTE / piece.length) }, () => piece);
      stage.upstream.play(says({ content: parts }));
      await page.goto('/');
      await page.evaluate(() => {
        globalThis.longest = 0;
        new PerformanceObserver((list) => {
          for (const { duration } of list.getEntries())
            globalThis.longest = Math.max(globalThis.longest, duration);
        }).observe({ type: 'longtask' });
      });
      await people.tryIt(page);
      await page.getByRole('tab', { name: 'Request' }).click();
      await page.getByRole('tab', { name: 'Reply', exact: true }).click();
      await people.untilDone(page);
      assert.equal(await long(page), parts.join(''));
      await unharmed(page, 'the long reply');
      await button(reply(page), 'Add to the messages and go on').click();
      await page.getByText('A long text of', { exact: false }).waitFor();
      await page.getByLabel('Content of message 3').fill('short');
      stage.upstream.play(says({ content: ['Read.'] }));
      await people.tryIt(page);
      await people.untilDone(page);
      await reply(page).getByText('Read.', { exact: true }).waitFor();
      assert.equal(stage.upstream.chats.at(-1).body.messages[1].content, parts.join(''));
      for (const id of ['python', 'java', 'c'])
        assert.ok((await people.codeOf(page, id)).length > MEGABYTE);
      await page.getByRole('link', { name: 'Getting started' }).first().click();
      await page.getByRole('heading', { name: 'Getting started', level: 1 }).waitFor();
      const longest = await page.evaluate(() => globalThis.longest);
      console.log(`a reply of a megabyte: the longest task took ${Math.round(longest)} ms`);
    }),
  );

  it(
    'a line of a megabyte without a space is shown, on a narrow screen too',
    visit(stage, asRoot({ width: 360, height: 740 }), async (page) => {
      stage.upstream.play(says({ content: ['x'.repeat(MEGABYTE)] }));
      await page.goto('/');
      await people.tryIt(page);
      await people.untilDone(page);
      assert.equal((await long(page)).length, MEGABYTE);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
    }),
  );
});
