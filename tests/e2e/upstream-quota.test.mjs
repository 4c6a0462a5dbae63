// Quota where an upstream answers: nothing is sent before it is paid for, an upstream that writes
// on is stopped, and its failures cost nothing.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  assertUsedUp,
  balanceOf,
  costOf,
  keyWith,
  plain,
  untilBalance,
} from './lib/books.mjs';
import { finishOf, textOf } from './lib/client.mjs';
import { begin, refuse, reply } from './lib/dialects.mjs';
import { callLine, relay } from './lib/gateway.mjs';
import { hello, until } from './lib/server.mjs';

const kimi = '/kimi/chat/completions';
const paid = (work, script, more = {}) => relay(script, work, { model: plain, ...more });

/** Sends one word after the other, whatever max_tokens said, until nobody listens. */
function chatter(state) {
  return begin(async (request, wire) => {
    const chunk = {
      id: 'x',
      object: 'chat.completion.chunk',
      created: 1,
      model: request.body.model,
      choices: [{ index: 0, delta: { content: ' more' }, finish_reason: null }],
    };
    for (; wire.open; state.sent++) {
      await wire.event(chunk);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    state.left = true;
  });
}

describe('an upstream', () => {
  it('is not connected to before the prompt is counted and paid for', async () => {
    await paid(async ({ server, upstream }) => {
      const key = await keyWith(server, 200);
      const long = { role: 'user', content: 'many words '.repeat(300) };
      for (const stream of [false, true])
        assertUsedUp(await server.chat(key, { ...hello, messages: [long], stream }));
      assert.equal(upstream.connections.length, 0);
      assert.equal(await balanceOf(server, key), 200);
      assert.equal((await server.chat(key, hello)).status, 200);
      assert.equal(upstream.chats.length, 1);
    }, reply());
  });

  it('is told the shorter max_tokens that the balance leaves', async () => {
    await paid(async ({ server, upstream }) => {
      const key = await keyWith(server, 500);
      assert.equal((await server.chat(key, { ...hello, max_tokens: 100_000 })).status, 200);
      const { body } = upstream.chats[0];
      const told = body.max_completion_tokens ?? body.max_tokens;
      assert.ok(told > 0 && told <= 250, JSON.stringify(body));
    }, reply());
  });

  it('is paid for what it says that it used', async () => {
    for (const [usage, more] of [
      [{ prompt: 11, completion: 7 }, {}],
      [{ prompt: 40, completion: 9, cached: 30 }, {}],
    ]) {
      const price = { ...plain, price_cached: 0.1 };
      await relay(
        reply({ usage, ...more }),
        async ({ server }) => {
          let left = 10_000;
          const key = await keyWith(server, left);
          const cost = costOf(
            {
              prompt_tokens: usage.prompt,
              cached_tokens: usage.cached,
              completion_tokens: usage.completion,
            },
            price,
          );
          for (const stream of [false, true]) {
            const answer = await server.chat(key, { ...hello, stream });
            assert.equal(answer.status, 200);
            left -= cost;
            assert.equal(await balanceOf(server, key), left);
          }
        },
        { model: price },
      );
    }
  });

  it('that ignores max_tokens is stopped where the balance ends, with a well-formed end', async () => {
    const state = { sent: 0 };
    await paid(async ({ server, upstream }) => {
      const key = await keyWith(server, 200);
      const stream = await server.openChat(key, hello, { path: kimi });
      await stream.end;
      assert.ok(stream.complete);
      assert.equal(stream.events.at(-1), '[DONE]');
      assert.equal(finishOf(stream), 'length');
      const words = textOf(stream).split(' ').length;
      const { body } = upstream.chats[0];
      const most = body.max_completion_tokens ?? body.max_tokens;
      assert.ok(words <= most, `${words} pieces of ${most} tokens`);
      await until(() => state.left, 'the upstream to be left');
      const left = await balanceOf(server, key);
      assert.ok(left >= 0 && left < 200, String(left));
      assertUsedUp(await server.chat(key, hello).then(async (a) => {
        // What the estimate left may be enough for a word or two more.
        for (let i = 0; a.status === 200 && i < 100; i++) a = await server.chat(key, { ...hello, stream: true });
        return a;
      }));
      assert.ok((await balanceOf(server, key)) >= 0);
    }, chatter(state));
  });

  it('that says it used more than was held is not paid beyond the balance', async () => {
    await paid(async ({ server }) => {
      const key = await keyWith(server, 300);
      const answer = await server.chat(key, { ...hello, max_tokens: 10 });
      assert.equal(answer.status, 200);
      assert.equal(await balanceOf(server, key), 0);
      assertUsedUp(await server.chat(key, hello));
    }, reply({ usage: { prompt: 1_000_000, completion: 1_000_000 } }));
  });

  it('that fails before its first byte costs nothing', async () => {
    const failures = [
      refuse(500),
      refuse(400),
      refuse(401),
      refuse(429),
      refuse(503, '<html>'),
      (request, wire) => wire.reset(),
      (request, wire) => wire.close(),
      (request, wire) => wire.raw('nonsense\r\n\r\n'),
      (request, wire) => wire.whole(200, '{"choices":'),
      (request, wire) => {
        wire.head();
        return wire.event('{"error":{"message":"full"}}').then(() => wire.end());
      },
      (request, wire) => {
        wire.head();
        return wire.end();
      },
    ];
    await paid(
      async ({ server, upstream }) => {
        const key = await keyWith(server, 1_000_000);
        for (const script of failures) {
          upstream.play(script);
          for (const stream of [false, true]) {
            const answer = await server.chat(key, { ...hello, stream });
            assert.ok(answer.status >= 400 || answer.text.includes('"error"'), answer.text);
            assert.ok(!answer.text.includes('[DONE]'));
          }
        }
        await untilBalance(server, key, 1_000_000);
      },
      refuse(500),
      { routing: { failures: 1000, rest_max: 0 } },
    );
  });

  it('that stalls costs nothing before its first byte', async () => {
    await paid(
      async ({ server }) => {
        const key = await keyWith(server, 1_000_000);
        const answer = await server.chat(key, hello);
        assert.equal(answer.status, 504, answer.text);
        await untilBalance(server, key, 1_000_000);
      },
      (request, wire) => wire.stall(),
      { limits: { call_timeout: '300ms' } },
    );
  });

  it('whose client leaves half-way is paid for the prompt and what came', async () => {
    const state = { sent: 0 };
    await paid(async ({ server }) => {
      const key = await keyWith(server, 1_000_000);
      const stream = await server.openChat(key, hello);
      await stream.until((a) => textOf(a).length > 100);
      await stream.abort();
      await until(() => state.left, 'the upstream to be left');
      const line = await callLine(server, stream);
      assert.equal(line.end, 'client_gone');
      assert.ok(line.prompt_tokens > 0 && line.completion_tokens >= textOf(stream).length / 8);
      await untilBalance(server, key, 1_000_000 - costOf(line));
    }, chatter(state));
  });

  it('that breaks off half-way is paid for what came', async () => {
    await paid(async ({ server }) => {
      const key = await keyWith(server, 1_000_000);
      const stream = await server.openChat(key, hello);
      await stream.end;
      assert.ok(!stream.events.includes('[DONE]'));
      const line = await callLine(server, stream);
      assert.ok(line.completion_tokens > 0);
      await untilBalance(server, key, 1_000_000 - costOf(line));
    }, begin((request, wire) => wire.reset()));
  });
});
