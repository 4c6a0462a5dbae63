// The playground before a scripted upstream: replies that grow, that break, that are stopped, and
// conversations that go on.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { begin, chunksOf, reply as says, refuse } from '../e2e/lib/dialects.mjs';
import { until } from '../e2e/lib/server.mjs';
import { visit } from './lib/chromium.mjs';
import * as people from './lib/people.mjs';
import { button, reply } from './lib/people.mjs';
import { equipped, relayStage, stageFor } from './lib/stage.mjs';

/** A script that sends each text only when the test has let go of it. */
function gated(texts, reasoning = []) {
  const gates = [...reasoning, ...texts].map(() => {
    const gate = {};
    gate.promise = new Promise((resolve) => (gate.open = resolve));
    return gate;
  });
  const script = async (request, wire) => {
    wire.head();
    const chunks = chunksOf({ reasoning, content: texts }, 'openai', request.body.model);
    let i = 0;
    for (const chunk of chunks) {
      const delta = chunk.choices[0]?.delta ?? {};
      if (delta.content || delta.reasoning_content) await gates[i++].promise;
      await wire.event(chunk);
    }
    await wire.event('[DONE]');
    return wire.end();
  };
  return { script, gates };
}

const content = (page) => reply(page).locator('.content');

describe('the playground', () => {
  let ann;
  const stage = relayStage(async () => {
    ann = await equipped(stage, 'ann@example.org');
  });
  const asAnn =
    (more = {}) =>
    () => ({ browser: ann, ...more });

  it(
    'shows each word as it comes, with the thinking folded above',
    visit(stage, asAnn(), async (page) => {
      const { script, gates } = gated(['One', ' two', ' three'], ['Let me', ' see.']);
      stage.upstream.play(script);
      await page.goto('/');
      await people.tryIt(page);
      await people.untilSaid(page, 'Waiting for the first word…');
      gates[0].open();
      await people.untilSaid(page, 'Thinking…');
      const thinking = reply(page).locator('details');
      assert.equal(await thinking.locator('.long').isVisible(), false);
      await thinking.locator('summary').click();
      await thinking.getByText('Let me', { exact: true }).waitFor();
      gates[1].open();
      await thinking.getByText('Let me see.').waitFor();
      gates[2].open();
      await content(page).getByText('One', { exact: true }).waitFor();
      await people.untilSaid(page, 'Writing…');
      gates[3].open();
      await content(page).getByText('One two', { exact: true }).waitFor();
      gates[4].open();
      await content(page).getByText('One two three', { exact: true }).waitFor();
      await people.untilDone(page);
      const [sent] = stage.upstream.chats.slice(-1);
      assert.deepEqual(sent.body.messages, [{ role: 'user', content: 'Hello' }]);
      await reply(page).getByText('$0.000025', { exact: true }).waitFor();
    }),
  );

  it(
    'sends the very request that it shows, whole or as a stream',
    visit(stage, asAnn(), async (page) => {
      stage.upstream.play(says({ content: ['Whole.'] }));
      await page.goto('/');
      await page.getByRole('switch').uncheck();
      await page.getByText('Parameters', { exact: true }).click();
      await page.getByLabel('seed', { exact: true }).fill('7');
      await page.getByLabel('Content of message 1').fill('Say "whole".\nPlease.');
      await people.tryIt(page);
      await people.untilDone(page);
      await content(page).getByText('Whole.', { exact: true }).waitFor();
      await page.getByRole('tab', { name: 'Request' }).click();
      const raw = await reply(page)
        .locator('.long')
        .evaluate((long) => long.textContent);
      const shown = JSON.parse(raw.slice(raw.indexOf('\n\n') + 2));
      assert.deepEqual(shown, {
        model: 'kimi-k2.5',
        messages: [{ role: 'user', content: 'Say "whole".\nPlease.' }],
        seed: 7,
      });
      const sent = stage.upstream.chats.at(-1).body;
      assert.equal(sent.seed, 7);
      assert.equal(sent.stream ?? false, false);
      await page.getByRole('tab', { name: 'Response' }).click();
      await reply(page).getByText('chat.completion').waitFor();
    }),
  );

  it(
    'stops when Stop is pressed, and the upstream sees the client leave',
    visit(stage, asAnn(), async (page) => {
      stage.upstream.play(begin((request, wire) => wire.stall()));
      await page.goto('/');
      await people.tryIt(page);
      await content(page).getByText('Once', { exact: true }).waitFor();
      const asked = stage.upstream.chats.at(-1);
      await button(page, 'Stop').click();
      await asked.gone;
      await people.untilSaid(page, 'Stopped by you.');
      await button(page, 'Try').waitFor();
      const trace = await reply(page).locator('.trace code').innerText();
      const row = await until(async () => {
        const { json } = await ann.get(`/console/api/usage?trace_id=${trace}`);
        return json.items[0];
      }, 'the row of the call');
      assert.equal(row.client_gone, true);
      await reply(page).getByText('Cost', { exact: true }).waitFor();
    }),
  );

  it(
    'goes on with a conversation, edited and branched',
    visit(stage, asAnn(), async (page) => {
      stage.upstream.play(says({ content: ['First reply'] }));
      await page.goto('/');
      await people.tryIt(page);
      await people.untilDone(page);
      await button(reply(page), 'Add to the messages and go on').click();
      assert.equal(await page.getByLabel('Content of message 2').inputValue(), 'First reply');
      await page.getByLabel('Content of message 2').fill('Edited reply');
      await page.getByLabel('Content of message 3').fill('And then?');
      await people.tryIt(page);
      await people.untilDone(page);
      const talk = [
        { role: 'user', content: 'Hello' },
        { role: 'assistant', content: 'Edited reply' },
        { role: 'user', content: 'And then?' },
      ];
      assert.deepEqual(stage.upstream.chats.at(-1).body.messages, talk);
      await button(page, 'Branch after message 1').click();
      await page.getByLabel('Content of message 2').waitFor({ state: 'detached' });
      await page.getByLabel('Content of message 1').fill('Another way');
      await page.getByLabel('Conversation', { exact: true }).selectOption({ index: 0 });
      assert.equal(await page.getByLabel('Content of message 1').inputValue(), 'Hello');
      assert.equal(await page.getByLabel('Content of message 3').inputValue(), 'And then?');
      await until(
        () =>
          page.evaluate(() => Object.values(sessionStorage).some((s) => s.includes('Another way'))),
        'the form to be kept',
      );
      await page.reload();
      assert.equal(await page.getByLabel('Content of message 3').inputValue(), 'And then?');
    }),
  );

  const broken = [
    ['refuses with 500', refuse(500), /server behind this one|went wrong/i, '502 api_error'],
    [
      'closes without a word',
      (request, wire) => wire.reset(),
      /server behind this one/,
      '502 api_error',
    ],
    [
      'says what is no JSON',
      (request, wire) => wire.whole(200, '<html>'),
      /server behind this one/,
      '502 api_error',
    ],
  ];
  for (const [what, script, meaning, name] of broken) {
    it(
      `tells in plain words of an upstream that ${what}, with code and trace id`,
      visit(stage, asAnn({ mayFail: [502] }), async (page, person) => {
        stage.upstream.play(script);
        await page.goto('/');
        await people.tryIt(page);
        await people.untilSaid(page, 'It failed.');
        const told = await people.fault(reply(page));
        assert.match(told.words, meaning);
        assert.equal(told.code, name);
        assert.match(told.trace, /^[0-9a-f-]{36}$/);
        assert.ok(stage.server.log.includes(told.trace), 'the log has the trace id');
        await button(reply(page), 'Copy trace id').click();
        await button(reply(page), 'Copied').waitFor();
        assert.equal(await person.copied(), told.trace);
      }),
    );
  }

  it(
    'tells of a reply that breaks off, and keeps what came of it',
    visit(stage, asAnn(), async (page) => {
      stage.upstream.play(begin((request, wire) => wire.reset()));
      await page.goto('/');
      await people.tryIt(page);
      await people.untilSaid(page, 'It failed.');
      await content(page).getByText('Once', { exact: true }).waitFor();
      const told = await people.fault(reply(page));
      assert.match(told.words, /\w/);
      assert.match(told.trace, /^[0-9a-f-]{36}$/);
    }),
  );

  it(
    'takes a pasted key without an account, and forgets it with the page',
    visit(stage, {}, async (page) => {
      stage.upstream.play(says({ content: ['By a pasted key'] }));
      await page.goto('/');
      await page.getByLabel('authorization').selectOption('own');
      await page.getByLabel('Your key').fill(ann.secret);
      await people.tryIt(page);
      await people.untilDone(page);
      await content(page).getByText('By a pasted key').waitFor();
      await reply(page).getByText('Balance after', { exact: true }).waitFor();
      const kept = await page.evaluate(() =>
        JSON.stringify([{ ...localStorage }, { ...sessionStorage }]),
      );
      assert.ok(!kept.includes(ann.secret), 'the key is kept nowhere');
      await page.getByRole('tab', { name: 'Request' }).click();
      assert.ok(!(await reply(page).innerText()).includes(ann.secret));
    }),
  );

  it(
    'refuses a wrong pasted key in plain words',
    visit(stage, { mayFail: [401] }, async (page) => {
      await page.goto('/');
      await page.getByLabel('authorization').selectOption('own');
      await page.getByLabel('Your key').fill(`mg-${'x'.repeat(43)}`);
      await people.tryIt(page);
      const told = await people.fault(reply(page));
      assert.equal(told.words, 'The key or the log-in is wrong, revoked, or missing.');
      assert.equal(told.code, '401 invalid_token');
    }),
  );
});

describe('a quota of zero', () => {
  const stage = stageFor({ set: { 'quota.list_prices': true, 'quota.free': 0 } });

  it(
    'is told in plain words with its code',
    visit(stage, { mayFail: [403] }, async (page) => {
      await page.goto('/');
      await button(page, 'Acquire').click();
      await people.signUp(page, 'poor@example.org');
      await people.takeKey(page, 'Your first key');
      await people.tryIt(page);
      const told = await people.fault(reply(page));
      assert.equal(told.words, "The balance, or the key's own limit, is used up.");
      assert.equal(told.code, '403 used_up');
      assert.match(told.trace, /^[0-9a-f-]{36}$/);
    }),
  );
});
