// Calls that wait for room at a backend: how many, for how long, in whose turn, and what their
// clients see meanwhile.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { textOf } from './lib/client.mjs';
import { reply } from './lib/dialects.mjs';
import { callLine, relay } from './lib/gateway.mjs';
import { hello, until } from './lib/server.mjs';

/** A script that answers when it is let go, one request a time: {script, free()}. */
function gate() {
  const held = [];
  const script = (request, wire) =>
    new Promise((resolve) => held.push(() => resolve(reply()(request, wire))));
  return { script, held, free: () => held.shift()() };
}

const one = { backend: { concurrency: 1 } };
const waitingIs = (server, n) => server.untilMetric('moongate_calls_waiting', (v) => v === n);

describe('the queue', () => {
  it('keeps streams alive with comments while they wait', async () => {
    const { script, held, free } = gate();
    const options = { ...one, limits: { keep_alive: '100ms' } };
    await relay(
      script,
      async ({ server, key, upstream }) => {
        const first = server.chat(key, hello);
        await upstream.asked(1);
        const second = await server.openChat(key, hello);
        assert.equal(second.status, 200, 'the head comes with the first comment');
        await second.until((a) => (a.text.match(/^:/gm) ?? []).length >= 2);
        assert.equal(upstream.requests.length, 1, 'it is still waiting');
        free();
        await first;
        await upstream.asked(2);
        await until(() => held.length === 1, 'the second to be asked');
        free();
        assert.equal(textOf(await second.end), 'Hello there');
        const line = await callLine(server, second);
        assert.ok(line.queue_ms > 0);
      },
      options,
    );
  });

  it('refuses with 429 and Retry-After when it is full', async () => {
    const { script, held, free } = gate();
    const options = { ...one, routing: { queue: 2, queue_timeout: '60s' } };
    await relay(
      script,
      async ({ server, key, upstream }) => {
        const calls = [server.chat(key, hello)];
        await upstream.asked(1);
        for (let n = 1; n <= 2; n++) {
          calls.push(server.chat(key, hello));
          await waitingIs(server, n);
        }
        for (const stream of [false, true]) {
          const refused = await server.chat(key, { ...hello, stream });
          assert.equal(refused.status, 429, refused.text);
          assert.equal(refused.json.error.code, 'too_many_requests');
          assert.equal(refused.json.error.type, 'engine_overloaded_error');
          assert.ok(Number(refused.headers['retry-after']) >= 1);
          assert.equal(refused.headers['x-should-retry'], 'true');
        }
        for (let n = 1; n <= 3; n++) {
          await until(() => held.length === 1, 'the next call');
          free();
        }
        for (const answer of await Promise.all(calls)) assert.equal(answer.status, 200);
      },
      options,
    );
  });

  it('is bounded in bytes too', async () => {
    const { script, held, free } = gate();
    const options = { ...one, routing: { queue_bytes: '64KiB', queue_timeout: '60s' } };
    const long = { ...hello, messages: [{ role: 'user', content: 'x'.repeat(40_000) }] };
    await relay(
      script,
      async ({ server, key, upstream }) => {
        const calls = [server.chat(key, hello)];
        await upstream.asked(1);
        calls.push(server.chat(key, long));
        await waitingIs(server, 1);
        assert.equal((await server.chat(key, long)).status, 429);
        for (let n = 1; n <= 2; n++) {
          await until(() => held.length === 1, 'the next call');
          free();
        }
        for (const answer of await Promise.all(calls)) assert.equal(answer.status, 200);
      },
      options,
    );
  });

  it('lets nobody wait longer than the limit', async () => {
    const { script, free } = gate();
    const options = {
      ...one,
      routing: { queue_timeout: '300ms' },
      limits: { keep_alive: '100ms' },
    };
    await relay(
      script,
      async ({ server, key, upstream }) => {
        const first = server.chat(key, hello);
        await upstream.asked(1);
        const whole = await server.chat(key, hello);
        assert.equal(whole.status, 503, whole.text);
        assert.equal(whole.json.error.code, 'api_error');
        assert.ok(Number(whole.headers['retry-after']) >= 1);
        const stream = await server.chat(key, { ...hello, stream: true });
        assert.equal(stream.status, 200, 'its head went out with a comment');
        assert.equal(stream.chunks.at(-1).error.code, 'api_error');
        assert.ok(!stream.events.includes('[DONE]'));
        free();
        assert.equal((await first).status, 200);
        assert.equal(upstream.requests.length, 1);
      },
      options,
    );
  });

  it('takes turns among keys', async () => {
    const { script, held, free } = gate();
    const options = { ...one, routing: { queue_timeout: '60s' } };
    await relay(
      script,
      async ({ server, key, upstream }) => {
        const other = await server.key({ name: 'other' });
        const ask = (who, text) =>
          server.chat(who, { ...hello, messages: [{ role: 'user', content: text }] });
        const calls = [ask(key, 'many 0')];
        await upstream.asked(1);
        for (let n = 1; n <= 8; n++) {
          calls.push(ask(key, `many ${n}`));
          await waitingIs(server, n);
        }
        calls.push(ask(other, 'other 0'));
        await waitingIs(server, 9);
        calls.push(ask(other, 'other 1'));
        await waitingIs(server, 10);
        for (let n = 0; n <= 10; n++) {
          await until(() => held.length === 1, 'the next call');
          free();
        }
        for (const answer of await Promise.all(calls)) assert.equal(answer.status, 200);
        const order = upstream.requests.map(({ body }) => body.messages[0].content);
        const at = ['other 0', 'other 1'].map((text) => order.indexOf(text));
        assert.ok(at[0] <= 2 && at[1] <= 4, `the other key came ${at} in ${order}`);
        const many = order.filter((text) => text.startsWith('many'));
        assert.deepEqual(
          many,
          Array.from({ length: 9 }, (_, n) => `many ${n}`),
          'first come',
        );
      },
      options,
    );
  });

  it('is left by a client that leaves', async () => {
    const { script, free } = gate();
    await relay(
      script,
      async ({ server, key, upstream }) => {
        const first = server.chat(key, hello);
        await upstream.asked(1);
        const controller = new AbortController();
        const second = server.chat(key, hello, { signal: controller.signal }).catch(() => {});
        await waitingIs(server, 1);
        controller.abort();
        await second;
        await waitingIs(server, 0);
        free();
        assert.equal((await first).status, 200);
        await server.untilMetric('moongate_calls_running', (n) => n === 0);
        assert.equal(upstream.requests.length, 1, 'nobody was asked for it');
      },
      one,
    );
  });
});
