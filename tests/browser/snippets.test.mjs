// Every code snippet is taken from the page as a person would and run unchanged: whole, with the
// key put in by the page; and as a stream, with the key from the environment, where the upstream
// says the second half only after the program has printed the first.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { chunksOf, reply as says } from '../e2e/lib/dialects.mjs';
import { until } from '../e2e/lib/server.mjs';
import { Person } from './lib/chromium.mjs';
import * as people from './lib/people.mjs';
import { code } from './lib/people.mjs';
import { equipped, relayStage } from './lib/stage.mjs';
import { Run, toolchains } from './lib/toolchains.mjs';

// What each language has a use for, and must not misread.
const messages = [
  {
    role: 'system',
    content: 'Be "brief", it\'s $HOME; `date` \\n %s ${x} {{y}} ??= <?php ?> """ \'\'\'',
  },
  { role: 'user', content: 'Línea 1\n\tline 2\r 世界 🌒 \u202e\u2028 */ // # -- \\ \\\\ !! JSON' },
];
const halves = ['First half', ' and the rest.'];

/** The form is filled in as after a reload: with what the page itself had stored. */
async function fill(page) {
  await page.evaluate((texts) => {
    const branch = { id: 1, messages: texts.map((m, i) => ({ id: i + 2, ...m })) };
    const form = {
      model: 'kimi-k2.5',
      stream: true,
      branches: [branch],
      branch: 1,
      values: { max_completion_tokens: '50', stop: '"§\'' },
      extra: '{"user":"a\'b"}',
    };
    sessionStorage.setItem('moongate.playground', JSON.stringify(form));
  }, messages);
  await page.reload();
  assert.equal(await page.getByLabel('Content of message 1').inputValue(), messages[0].content);
}

describe('the code of the playground', () => {
  let ann, person;
  const codes = new Map();
  const stage = relayStage(async () => {
    ann = await equipped(stage, 'ann@example.org');
    person = await Person.enter(stage.chromium, stage.server, {});
    const { page } = person;
    await page.goto('/');
    await fill(page);
    await page.getByLabel('authorization').selectOption('own');
    await page.getByLabel('Your key').fill(ann.secret);
    for (const stream of [true, false]) {
      await page.getByRole('switch').setChecked(stream);
      await code(page).getByRole('checkbox').setChecked(!stream);
      for (const { id } of toolchains) {
        const text = await people.codeOf(page, id);
        assert.equal(
          text.includes(ann.secret),
          !stream,
          `${id}: the key is there only when asked for`,
        );
        codes.set(`${id} ${stream}`, text);
      }
    }
    const shown = await page.locator('[id^="code-panel-"]').count();
    assert.equal(shown, toolchains.length, 'every language of the page is run');
    await person.leave();
  });

  function asked(id) {
    const { body } = stage.upstream.chats.at(-1);
    assert.deepEqual(body.messages, messages, `${id} says what the form says`);
    assert.equal(body.user, "a'b");
    assert.deepEqual([body.stop].flat(), ['"§\'']);
  }

  for (const chain of toolchains) {
    const { id } = chain;
    const reason = chain.missing();
    const skip = reason ? `there is no ${reason} here` : false;

    it(`${id} prints the whole reply`, { skip }, async () => {
      stage.upstream.play(says({ content: [halves.join('')] }));
      const run = await Run.start(chain, codes.get(`${id} false`), {});
      try {
        const { code: status, output, errors } = await run.end;
        assert.equal(status, 0, errors);
        assert.ok(output.includes(halves.join('')), output);
        asked(id);
      } finally {
        run.clean();
      }
    });

    it(`${id} prints a stream while it comes`, { skip }, async () => {
      let goOn;
      const seen = new Promise((resolve) => (goOn = resolve));
      stage.upstream.play(async (request, wire) => {
        wire.head();
        for (const chunk of chunksOf({ content: halves })) {
          if (chunk.choices[0]?.delta.content === halves[1]) await seen;
          await wire.event(chunk);
        }
        await wire.event('[DONE]');
        return wire.end();
      });
      const run = await Run.start(chain, codes.get(`${id} true`), { MOONGATE_API_KEY: ann.secret });
      try {
        await until(() => run.output.includes(halves[0]) || run.ended, 'the first half');
        assert.ok(!run.ended, run.output + run.errors);
        assert.ok(!run.output.includes(halves[1]));
        goOn();
        const { code: status, output, errors } = await run.end;
        assert.equal(status, 0, errors);
        assert.ok(output.includes(halves[1]), output);
        asked(id);
      } finally {
        goOn();
        run.clean();
      }
    });

    it(`${id} tells of a key that is refused`, { skip }, async () => {
      const env = { MOONGATE_API_KEY: `mg-${'x'.repeat(43)}` };
      const run = await Run.start(chain, codes.get(`${id} true`), env);
      try {
        const { code: status, output, errors } = await run.end;
        assert.match(output + errors, /invalid_token|token is invalid/);
        if (id !== 'curl') assert.notEqual(status, 0);
      } finally {
        run.clean();
      }
    });
  }
});
