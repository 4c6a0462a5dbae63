// Limits of requests, tokens and calls at once, as a client meets them. With replicas they are
// shared in a real Redis, so that two processes are no more generous than one.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { finishOf, textOf } from './lib/client.mjs';
import { Redis } from './lib/redis.mjs';
import { Server, endless, hello, until, withServer } from './lib/server.mjs';
import { isReplicated, isShared } from './lib/stores.mjs';

const other = 'kimi-k2.6';
let redis;
before(async () => {
  redis = await Redis.start();
});
after(() => redis.close());

/** Runs work(server, key) under these limits; they are in Redis if two processes share them. */
const under = (rates, work, more = {}) => {
  const set = Object.fromEntries(Object.entries(rates).map(([k, v]) => [`rates.${k}`, v]));
  if (isReplicated) set['rates.redis'] = redis.place();
  return withServer({ set: { ...set, ...more } }, work);
};

const short = endless(2);

function assertLimited(answer, scope) {
  assert.equal(answer.status, 429, answer.text);
  assert.equal(answer.json.error.code, 'too_many_requests');
  assert.equal(answer.json.error.type, 'rate_limit_reached_error');
  assert.match(answer.json.error.message, new RegExp(`this ${scope}\\b`));
  assert.equal(answer.headers['x-should-retry'], 'true');
  assert.match(answer.headers['retry-after'], /^[1-9][0-9]*$/);
}

describe('a limit of requests', () => {
  it('counts down in the headers of good answers, and then refuses', async () => {
    await under({ key_requests: 3 }, async (server, key) => {
      for (const left of [2, 1, 0]) {
        const answer = await server.chat(key, { ...short, stream: left === 1 });
        assert.equal(answer.status, 200, answer.text);
        assert.equal(answer.headers['x-ratelimit-limit-requests'], '3');
        assert.equal(answer.headers['x-ratelimit-remaining-requests'], String(left));
        assert.match(answer.headers['x-ratelimit-reset-requests'], /^([0-9]+m)?[0-9.]+m?s$/);
        assert.equal(answer.headers['x-ratelimit-limit'], '3');
        assert.equal(answer.headers['x-ratelimit-remaining'], String(left));
        assert.ok(Number(answer.headers['x-ratelimit-reset']) <= 20 * (3 - left));
      }
      const refused = await server.chat(key, short);
      assertLimited(refused, 'key');
      assert.equal(refused.headers['x-ratelimit-remaining-requests'], '0');
      const wait = Number(refused.headers['retry-after']);
      assert.ok(wait >= 1 && wait <= 20, String(wait));
    });
  });

  it('tells when to come again, right to the second', async () => {
    await under({ key_requests: 20 }, async (server, key) => {
      for (let i = 0; i < 20; i++) await server.chat(key, { ...short, max_tokens: 1 });
      const before = performance.now();
      const first = await until(async () => {
        const answer = await server.chat(key, short);
        return answer.status === 429 && answer;
      }, 'the limit to be reached');
      const wait = Number(first.headers['retry-after']) * 1000;
      const after = performance.now();
      // The one that was refused first may have been asked up to `after`; earlier ones pass.
      for (;;) {
        const asked = performance.now();
        const answer = await server.chat(key, { ...short, max_tokens: 1 });
        const answered = performance.now();
        if (answer.status === 200) {
          assert.ok(answered >= before + wait - 1000, 'not before the second that was told');
          break;
        }
        assert.ok(asked < after + wait, 'nor after it');
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    });
  });

  it('is of each key', async () => {
    await under({ key_requests: 1 }, async (server, key) => {
      const second = await server.key({ name: 'second' });
      assert.equal((await server.chat(key, short)).status, 200);
      assertLimited(await server.chat(key, short), 'key');
      assert.equal((await server.chat(second, short)).status, 200);
    });
  });

  it('is of an account, whatever its keys', async () => {
    await under({ account_requests: 2 }, async (server, key) => {
      const second = await server.key({ name: 'second' });
      assert.equal((await server.chat(key, short)).status, 200);
      assert.equal((await server.chat(second, short)).status, 200);
      assertLimited(await server.chat(key, short), 'account');
      assertLimited(await server.chat(second, short), 'account');
    });
  });

  it('is of a model, and takes nothing of the key for what it refuses', async () => {
    await under({ model_requests: 1, key_requests: 3 }, async (server, key) => {
      assert.equal((await server.chat(key, short)).status, 200);
      for (let i = 0; i < 5; i++) assertLimited(await server.chat(key, short), 'model');
      const answer = await server.chat(key, { ...short, model: other });
      assert.equal(answer.status, 200, answer.text);
    });
  });

  it('is of a network, and of the one that a trusted proxy names', async () => {
    const from = (address) => ({ headers: { 'x-forwarded-for': address } });
    const trust = { 'http.trusted_proxies': '127.0.0.0/8' };
    await under(
      { network_requests: 1 },
      async (server, key) => {
        assert.equal((await server.chat(key, short, from('192.0.2.1'))).status, 200);
        assertLimited(await server.chat(key, short, from('192.0.2.200')), 'network');
        assert.equal((await server.chat(key, short, from('198.51.100.1'))).status, 200);
        assert.equal((await server.chat(key, short, from('2001:db8::1'))).status, 200);
        assertLimited(await server.chat(key, short, from('2001:db8::2')), 'network');
      },
      trust,
    );
    await under({ network_requests: 1 }, async (server, key) => {
      assert.equal((await server.chat(key, short, from('192.0.2.1'))).status, 200);
      assertLimited(await server.chat(key, short, from('198.51.100.1')), 'network');
    });
  });

  it('costs the same answer for a stream, before its head', async () => {
    await under({ key_requests: 1 }, async (server, key) => {
      await server.chat(key, short);
      const answer = await server.chat(key, { ...short, stream: true });
      assertLimited(answer, 'key');
      assert.match(answer.headers['content-type'], /^application\/json/);
    });
  });

  it('does not hold for other routes', async () => {
    await under({ key_requests: 1 }, async (server, key) => {
      await server.chat(key, short);
      assert.equal((await server.call('GET', '/v1/models', { key })).status, 200);
      const path = '/v1/tokenizers/estimate-token-count';
      assert.equal((await server.chat(key, hello, { path })).status, 200);
    });
  });
});

describe('a limit of tokens', () => {
  it('is corrected when a reply took less than was set aside', async () => {
    await under({ key_tokens: 3000 }, async (server, key) => {
      const modest = { ...hello, thinking: { type: 'disabled' }, max_tokens: 1800, stop: ['e'] };
      const before = performance.now();
      for (let i = 0; i < 6; i++) {
        const answer = await server.chat(key, { ...modest, stream: i % 2 === 0 });
        assert.equal(answer.status, 200, answer.text);
        assert.equal(answer.headers['x-ratelimit-limit-tokens'], '3000');
        assert.ok(Number(answer.headers['x-ratelimit-remaining-tokens']) < 1200);
      }
      // Without the correction, six calls need 10800 tokens: more than two minutes of filling.
      assert.ok(performance.now() - before < 100_000);
    });
  });

  it('refuses when it is used, and says until when', async () => {
    await under({ key_tokens: 600 }, async (server, key) => {
      assert.equal((await server.chat(key, endless(550))).status, 200);
      const refused = await server.chat(key, endless(550));
      assertLimited(refused, 'key');
      assert.match(refused.json.error.message, /tokens per minute/);
      assert.ok(Number(refused.headers['retry-after']) > 30);
    });
  });

  it('can never take a prompt that is larger than it', async () => {
    await under({ key_tokens: 20 }, async (server, key) => {
      const content = 'a long prompt '.repeat(30);
      const answer = await server.chat(key, { ...short, messages: [{ role: 'user', content }] });
      assert.equal(answer.status, 400, answer.text);
      assert.equal(answer.headers['retry-after'], undefined);
      assert.match(answer.json.error.message, /20/);
    });
  });
});

describe('a limit of calls at once', () => {
  const busyWith = async (server, key) => {
    // The place of a call that was just answered may come back a moment later.
    const stream = await until(async () => {
      const one = await server.openChat(key, endless(1900));
      return one.status === 200 && one;
    }, 'a free place');
    await stream.until((a) => textOf(a).length > 0);
    return stream;
  };
  const free = (server, key) =>
    until(async () => (await server.chat(key, short)).status === 200, 'a free place');

  it('gives its place back however a call ends', async () => {
    await under({ key_concurrent: 1 }, async (server, key) => {
      let stream = await busyWith(server, key);
      assertLimited(await server.chat(key, short), 'key');
      const second = await server.key({ name: 'second' });
      assert.equal((await server.chat(second, short)).status, 200);
      await stream.abort();
      await free(server, key);
      stream = await busyWith(server, key);
      assertLimited(await server.chat(key, short), 'key');
      assert.equal(finishOf(await stream.end), 'length');
      await free(server, key);
      assert.equal((await server.chat(key, '{')).status, 400);
      assert.equal((await server.chat(key, { ...short, model: 'nobody' })).status, 404);
      await free(server, key);
    });
  });

  it('lets exactly so many of a crowd in', async () => {
    await under({ key_concurrent: 5 }, async (server, key) => {
      const streams = await Promise.all(
        Array.from({ length: 40 }, () => server.openChat(key, endless(1900))),
      );
      const good = streams.filter((stream) => stream.status === 200);
      assert.equal(good.length, 5);
      for (const stream of good) await stream.abort();
      await free(server, key);
    });
  });
});

describe('limits in Redis', () => {
  const two = async (set, work) => {
    const replicas = isShared ? 2 : 1;
    const server = await Server.start({ set: { 'rates.redis': redis.place(), ...set }, replicas });
    try {
      await work(server, await server.key());
      await server.stop();
    } finally {
      await server.kill();
    }
  };

  it('are the same for all replicas', async () => {
    await two({ 'rates.key_requests': 10 }, async (server, key) => {
      const answers = [];
      for (let i = 0; i < 14; i++) answers.push(await server.chat(key, short));
      assert.equal(answers.filter((answer) => answer.status === 200).length, 10);
      for (const [i, answer] of answers.slice(0, 10).entries())
        assert.equal(answer.headers['x-ratelimit-remaining-requests'], String(9 - i));
      for (const answer of answers.slice(10)) assertLimited(answer, 'key');
    });
  });

  it('hold for a crowd, to the unit', async () => {
    await two({ 'rates.key_requests': 17 }, async (server, key) => {
      const answers = await Promise.all(Array.from({ length: 60 }, () => server.chat(key, short)));
      assert.equal(answers.filter((answer) => answer.status === 200).length, 17);
    });
  });

  it('are of each process while it is away, and shared again when it is back', async () => {
    await two({ 'rates.key_requests': 1000, 'rates.redis_timeout': '200ms' }, async (server, key) => {
      assert.equal((await server.chat(key, short)).status, 200);
      await redis.stop();
      try {
        for (let i = 0; i < 6; i++) assert.equal((await server.chat(key, short)).status, 200);
        await until(() => /Redis is away/.test(server.log), 'the log to tell of it');
      } finally {
        await redis.again();
      }
      await until(async () => {
        assert.equal((await server.chat(key, short)).status, 200);
        return /Redis is away[^]*Redis is reached/.test(server.log);
      }, 'Redis to be reached again');
      assert.ok(!server.log.includes('of-a-test'), 'the password is in no log');
    });
  });

  it('refuse calls with 503 while it is away, where that is wanted', async () => {
    const set = { 'rates.key_requests': 1000, 'rates.redis_away': 'refuse' };
    await two(set, async (server, key) => {
      assert.equal((await server.chat(key, short)).status, 200);
      await redis.stop();
      try {
        const answer = await server.chat(key, short);
        assert.equal(answer.status, 503, answer.text);
        assert.match(answer.headers['retry-after'], /^[1-9][0-9]*$/);
        assert.equal((await server.call('GET', '/v1/models', { key })).status, 200);
      } finally {
        await redis.again();
      }
      await until(async () => (await server.chat(key, short)).status === 200, 'calls to pass');
    });
  });
});
