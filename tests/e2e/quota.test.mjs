// Quota as a client sees it: what a call costs, what a small balance does to it, and what costs
// nothing.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import OpenAI, { PermissionDeniedError } from 'openai';
import {
  assertUsedUp,
  balanceOf,
  costOf,
  free,
  keyWith,
  plain,
  pricedConfig,
  untilBalance,
} from './lib/books.mjs';
import { finishOf, textOf } from './lib/client.mjs';
import { callLine } from './lib/log.mjs';
import { Server, endless, hello, withServer } from './lib/server.mjs';

const kimi = '/kimi/chat/completions'; // its streams end with their usage

describe('the price of a call', () => {
  it('is its tokens times the price, to the micro-dollar, whole or as a stream', async () => {
    for (const price of [
      plain,
      { price_input: 0.15, price_cached: 0.05, price_output: 2.5 },
      { price_input: 0, price_cached: 0, price_output: 3 },
      { price_input: 0.000001, price_cached: 0, price_output: 0 },
      { price_input: 1000, price_cached: 999.999999, price_output: 0.333333 },
    ]) {
      await withServer({ config: pricedConfig(price) }, async (server) => {
        let left = 90_000_000;
        const key = await keyWith(server, left);
        assert.equal(await balanceOf(server, key), left);
        for (let i = 0; i < 3; i++) {
          const whole = await server.chat(key, { ...hello, max_tokens: 20 + i });
          left -= costOf(whole.json.usage, price);
          assert.equal(await balanceOf(server, key), left, JSON.stringify(whole.json.usage));
          const stream = await server.openChat(key, { ...hello, max_tokens: 20 + i }, { path: kimi });
          const { usage } = (await stream.end).chunks.at(-1);
          left -= costOf(usage, price);
          assert.equal(await balanceOf(server, key), left, JSON.stringify(usage));
        }
      });
    }
  });

  it('is counted for every choice', async () => {
    await withServer({ config: pricedConfig() }, async (server) => {
      const key = await keyWith(server, 1_000_000);
      const answer = await server.chat(key, endless(7, { n: 3 }));
      assert.equal(answer.json.usage.completion_tokens, 21);
      assert.equal(await balanceOf(server, key), 1_000_000 - costOf(answer.json.usage));
    });
  });
});

describe('a balance', () => {
  let server, prompt;
  before(async () => {
    server = await Server.start({ config: pricedConfig() });
    const key = await server.key();
    prompt = (await server.chat(key, endless(1, { model: free }))).json.usage.prompt_tokens;
  });
  after(() => server.stop());

  it('is not needed where the model has no price', async () => {
    const key = await server.key();
    assert.equal(await balanceOf(server, key), 0);
    assert.equal((await server.chat(key, endless(2, { model: free }))).status, 200);
    assertUsedUp(await server.chat(key, endless(2)));
  });

  it('of zero is used_up, as a plain answer also where a stream was asked for', async () => {
    const key = await keyWith(server, prompt + 2 * 5);
    const answer = await server.chat(key, endless(5));
    assert.equal(answer.json.usage.completion_tokens, 5);
    assert.equal(await balanceOf(server, key), 0);
    for (const path of ['/v1/chat/completions', kimi, '/openai/chat/completions']) {
      for (const stream of [false, true])
        assertUsedUp(await server.chat(key, endless(5, { stream }), { path }));
    }
    assert.equal(await balanceOf(server, key), 0);
    assert.equal((await server.call('GET', '/v1/models', { key })).status, 200);
  });

  it('that is used up is not asked again by the openai package', async () => {
    let asked = 0;
    const openai = new OpenAI({
      baseURL: `${server.origin}/v1`,
      apiKey: await server.key(),
      maxRetries: 5,
      fetch: (...args) => {
        asked++;
        return fetch(...args);
      },
    });
    await assert.rejects(openai.chat.completions.create(hello), (error) => {
      assert.ok(error instanceof PermissionDeniedError, String(error));
      assert.equal(error.code, 'used_up');
      return true;
    });
    assert.equal(asked, 1);
  });

  it('is enough for the prompt and one token, or it is used up', async () => {
    const short = await keyWith(server, prompt + 1);
    assertUsedUp(await server.chat(short, endless(50)));
    assert.equal(await balanceOf(server, short), prompt + 1);
    const key = await keyWith(server, prompt + 2);
    const answer = await server.chat(key, endless(50));
    assert.equal(answer.json.choices[0].finish_reason, 'length');
    assert.equal(answer.json.usage.completion_tokens, 1);
    assert.equal(await balanceOf(server, key), 0);
  });

  it('that is too small for the wish makes the reply shorter, with a well-formed end', async () => {
    for (const wish of [{ max_tokens: 500 }, { max_tokens: undefined }]) {
      const key = await keyWith(server, prompt + 2 * 30 + 1);
      const stream = await server.openChat(key, endless(0, wish), { path: kimi });
      await stream.end;
      assert.equal(stream.events.at(-1), '[DONE]');
      assert.equal(finishOf(stream), 'length');
      assert.equal(stream.chunks.at(-1).usage.completion_tokens, 30);
      assert.equal(textOf(stream).length, 30);
      assert.equal(await balanceOf(server, key), 1);
    }
  });

  it('is shared by the choices of a reply', async () => {
    const key = await keyWith(server, prompt + 2 * 3 * 10);
    const stream = await server.openChat(key, endless(500, { n: 3 }), { path: kimi });
    await stream.end;
    for (let i = 0; i < 3; i++) {
      assert.equal(textOf(stream, i).length, 10);
      assert.equal(finishOf(stream, i), 'length');
    }
    assert.equal(await balanceOf(server, key), 0);
  });

  it('that is large leaves max_tokens as it is', async () => {
    const key = await keyWith(server, 1_000_000);
    const answer = await server.chat(key, endless(40));
    assert.equal(answer.json.usage.completion_tokens, 40);
  });

  it('has the cap of a key below it', async () => {
    const rich = await keyWith(server, 1_000_000, { name: 'rich' });
    const poor = await keyWith(server, prompt + 2 * 2, { name: 'poor' });
    assert.equal((await server.chat(poor, endless(9))).json.usage.completion_tokens, 2);
    const refused = await server.chat(poor, endless(9));
    assertUsedUp(refused);
    assert.match(refused.json.error.message, /cap/);
    const answer = await server.chat(rich, endless(9));
    assert.equal(answer.status, 200);
    assert.equal(await balanceOf(server, rich), 1_000_000 - costOf(answer.json.usage));
    assert.equal(await balanceOf(server, poor), 0);
  });

  it('is held while a call runs, and what is left of the hold comes back', async () => {
    const key = await keyWith(server, 10_000);
    const stream = await server.openChat(key, endless(1500), { path: kimi });
    await stream.until((a) => textOf(a).length > 0);
    assert.equal(await balanceOf(server, key), 10_000 - prompt - 2 * 1500);
    await stream.abort();
    await stream.end;
    const line = await callLine(server, stream);
    assert.equal(line.end, 'client_gone');
    assert.ok(line.completion_tokens >= textOf(stream).length);
    assert.ok(line.completion_tokens < 1500, 'the engine stopped');
    await untilBalance(server, key, 10_000 - costOf(line));
  });
});

describe('nothing is charged', () => {
  it('for what is refused', async () => {
    await withServer({ config: pricedConfig() }, async (server) => {
      const key = await keyWith(server, 1_000_000);
      for (const [status, body] of [
        [400, '{'],
        [400, { ...hello, messages: [] }],
        [400, { ...hello, max_tokens: -1 }],
        [400, { ...hello, stream: true, temperature: 'hot' }],
        [404, { ...hello, model: 'nobody' }],
        [413, `"${'x'.repeat(5 << 20)}"`],
      ]) {
        assert.equal((await server.chat(key, body)).status, status);
      }
      const long = { role: 'user', content: 'long '.repeat(20_000) };
      assert.equal((await server.chat(key, { ...hello, messages: [long] })).status, 400);
      assert.equal((await server.chat('mg-unknown', hello)).status, 401);
      await untilBalance(server, key, 1_000_000);
    });
  });

  it('for a count of tokens', async () => {
    await withServer({ config: pricedConfig() }, async (server) => {
      const key = await keyWith(server, 1_000_000);
      const path = '/v1/tokenizers/estimate-token-count';
      assert.equal((await server.chat(key, hello, { path })).status, 200);
      assert.equal(await balanceOf(server, key), 1_000_000);
    });
  });

  it('for a call that ran into its time limit before its first byte', async () => {
    const config = pricedConfig(plain, {
      engine: { sequences: 1 },
      limits: { call_timeout: '400ms' },
    });
    await withServer({ config }, async (server) => {
      const key = await keyWith(server, 1_000_000);
      const busy = await server.openChat(key, endless(1900, { model: free, n: 5 }));
      const late = await server.chat(key, endless(5));
      assert.ok([200, 504].includes(late.status), late.text);
      await busy.end;
      const cost = late.status === 200 ? costOf(late.json.usage) : 0;
      await untilBalance(server, key, 1_000_000 - cost);
    });
  });
});
