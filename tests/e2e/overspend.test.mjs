// A crowd of calls against a small balance: nobody gets more than there is, in one process or in
// two that share a database.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { assertUsedUp, balanceOf, costOf, free, keyWith, pricedConfig } from './lib/books.mjs';
import { finishOf } from './lib/client.mjs';
import { Server, endless } from './lib/server.mjs';

const CROWD = 200;

describe('a crowd', () => {
  let server, prompt;
  before(async () => {
    const engine = { sequences: 16, queue: 1000 };
    server = await Server.start({ config: pricedConfig(undefined, { engine }) });
    const key = await server.key();
    prompt = (await server.chat(key, endless(1, { model: free }))).json.usage.prompt_tokens;
  });
  after(() => server.stop());

  /** Looks at the balance again and again while `work` is under way: it is never below zero. */
  async function watched(key, work) {
    let over = false;
    const done = work.finally(() => (over = true));
    done.catch(() => {});
    while (!over) assert.ok((await balanceOf(server, key)) >= 0);
    return done;
  }

  const crowd = (body) => Promise.all(Array.from({ length: CROWD }, (_, i) => body(i)));

  it('has one call served of a balance for exactly one', async () => {
    for (const stream of [false, true]) {
      const price = prompt + 2 * 4;
      const key = await keyWith(server, price);
      const answers = await watched(
        key,
        crowd(() => server.chat(key, endless(4, { stream }))),
      );
      const served = answers.filter((answer) => answer.status === 200);
      assert.equal(served.length, 1);
      assert.equal(served[0].text.includes('"finish_reason":"length"'), true);
      for (const answer of answers) if (answer !== served[0]) assertUsedUp(answer);
      assert.equal(await balanceOf(server, key), 0);
    }
  });

  it('gets what there is and no more, where replies become shorter', async () => {
    const grant = 10 * (prompt + 2 * 20) + 2 * 7 + 1;
    const key = await keyWith(server, grant);
    const path = '/kimi/chat/completions';
    const answers = await watched(
      key,
      crowd(() => server.chat(key, endless(20, { stream: true }), { path })),
    );
    let spent = 0;
    for (const answer of answers) {
      if (answer.status !== 200) {
        assertUsedUp(answer);
        continue;
      }
      assert.equal(answer.events.at(-1), '[DONE]');
      assert.equal(finishOf(answer), 'length');
      spent += costOf(answer.chunks.at(-1).usage);
    }
    assert.ok(spent <= grant, `${spent} of ${grant}`);
    assert.equal(await balanceOf(server, key), grant - spent);
    assert.ok(grant - spent < prompt + 2 * 20, 'what is left is less than one more call');
  });

  it('of two keys has each within its own cap', async () => {
    const price = prompt + 2 * 4;
    const keys = [await keyWith(server, 3 * price), await keyWith(server, 5 * price)];
    const answers = await crowd((i) => server.chat(keys[i % 2], endless(4)));
    const served = [0, 1].map(
      (k) => answers.filter((answer, i) => i % 2 === k && answer.status === 200).length,
    );
    assert.deepEqual(served, [3, 5]);
    for (const key of keys) assert.equal(await balanceOf(server, key), 0);
  });

  it('that leaves at once pays for what was made, and never more than there is', async () => {
    const grant = 20 * (prompt + 2 * 50);
    const key = await keyWith(server, grant);
    const streams = await Promise.all(
      Array.from({ length: 60 }, async () => {
        const stream = await server.openChat(key, endless(50));
        if (stream.status !== 200) return null;
        await stream.abort();
        return stream;
      }),
    );
    assert.ok(streams.some((stream) => stream));
    await server.untilMetric('moongate_calls_running', (n) => n === 0);
    const left = await balanceOf(server, key);
    assert.ok(left >= 0 && left < grant, `${left} of ${grant}`);
    const answer = await server.chat(key, endless(1));
    if (left >= prompt + 2) assert.equal(answer.status, 200, answer.text);
  });
});
