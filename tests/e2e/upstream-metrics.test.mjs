// How many tokens a call used where an upstream says so, says nothing, or says something else;
// and what stands in the metrics and the log. No label and no line has what a client chose.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { textOf } from './lib/client.mjs';
import { begin, openaiError, refuse, reply } from './lib/dialects.mjs';
import { callLine, logLines, model, relay, withGateway, withUpstreams } from './lib/gateway.mjs';
import { hello, until } from './lib/server.mjs';
import { deadPort } from './lib/upstream.mjs';

const silent = { content: ['The quick brown fox', ' jumps over the lazy dog.'], usage: undefined };
const asked = { ...hello, stream: true, stream_options: { include_usage: true } };
const usageOf = (answer) => answer.chunks.find((c) => c.choices.length === 0).usage;

/** The samples of a page of metrics: [{name, labels, value}]. */
async function samples(server) {
  const { text } = await server.call('GET', '/metrics');
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const [, name, , inner, value] = /^([a-z_]+)(\{(.*)\})? (\S+)$/.exec(line);
      const labels = Object.fromEntries(
        [...(inner ?? '').matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g)].map(([, k, v]) => [k, v]),
      );
      return { name, labels, value: Number(value) };
    });
}

/** The sum of a metric's samples that have these labels. */
async function sum(server, name, labels = {}) {
  return (await samples(server))
    .filter((s) => s.name === name)
    .filter((s) => Object.entries(labels).every(([k, v]) => s.labels[k] === v))
    .reduce((total, s) => total + s.value, 0);
}

describe('tokens', () => {
  it('are those that the upstream tells', async () => {
    await relay(
      reply({ usage: { prompt: 1234, completion: 567, cached: 89, reasoning: 0 } }),
      async ({ server, key }) => {
        for (const answer of [await server.chat(key, hello), await server.chat(key, asked)]) {
          const line = await callLine(server, answer);
          assert.equal(line.usage, 'upstream');
          assert.deepEqual(
            [line.prompt_tokens, line.cached_tokens, line.completion_tokens],
            [1234, 89, 567],
          );
        }
      },
    );
  });

  it('are estimated where the upstream says nothing', async () => {
    await relay(reply(silent), async ({ server, key }) => {
      const whole = await server.chat(key, hello);
      const streamed = await server.chat(key, asked);
      for (const usage of [whole.json.usage, usageOf(streamed)]) {
        assert.ok(usage.prompt_tokens >= 1 && usage.prompt_tokens < 40, JSON.stringify(usage));
        assert.ok(usage.completion_tokens >= 5 && usage.completion_tokens < 30);
        assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
      }
      assert.equal((await callLine(server, whole)).usage, 'estimated');
      assert.equal((await callLine(server, streamed)).usage, 'estimated');
      await until(
        async () =>
          (await sum(server, 'moongate_usage_source_total', { source: 'estimated' })) === 2,
        'both to be counted',
      );
    });
  });

  it('are counted where there is a tokenizer', async () => {
    const options = {
      routes: [{ name: 'up' }],
      backends: undefined,
      model: { tokenizer: 'engine' },
    };
    await withUpstreams([reply(silent)], async (up) => {
      const backends = { up, local: 'local' };
      await withGateway({ ...options, backends }, async (server, key) => {
        const whole = await server.chat(key, hello);
        const streamed = await server.chat(key, asked);
        assert.deepEqual(whole.json.usage, usageOf(streamed));
        assert.ok(whole.json.usage.prompt_tokens > 1);
        assert.ok(whole.json.usage.completion_tokens > 5);
        for (const answer of [whole, streamed]) {
          assert.equal((await callLine(server, answer)).usage, 'counted');
        }
        const path = '/v1/tokenizers/estimate-token-count';
        const count = await server.call('POST', path, { key, body: hello });
        assert.equal(count.json.data.total_tokens, whole.json.usage.prompt_tokens);
      });
    });
  });

  it('are compared with our own count, and a difference is told', async () => {
    await withUpstreams([reply(silent)], async (up) => {
      const options = {
        backends: { up, local: 'local' },
        routes: [{ name: 'up' }],
        model: { tokenizer: 'engine' },
      };
      await withGateway(options, async (server, key) => {
        const { usage } = (await server.chat(key, hello)).json;
        const theirs = { prompt: usage.prompt_tokens, completion: usage.completion_tokens };
        const compared = (n) => async () =>
          (await sum(server, 'moongate_usage_compared_total', { backend: 'up', model })) === n;
        const apart = () => sum(server, 'moongate_usage_apart_total', { backend: 'up', model });
        up.play(reply({ ...silent, usage: theirs }));
        await server.chat(key, hello);
        await until(compared(1), 'a comparison');
        assert.equal(await apart(), 0);
        up.play(reply({ ...silent, usage: { ...theirs, completion: 10 * theirs.completion } }));
        const answer = await server.chat(key, hello);
        assert.equal(answer.json.usage.completion_tokens, 10 * theirs.completion, 'their word');
        await until(compared(2), 'another');
        assert.equal(await apart(), 1);
      });
    });
  });

  it('are counted also for a client that left', async () => {
    const script = begin((request, wire) => wire.stall(), silent);
    await relay(script, async ({ server, key }) => {
      const answer = await server.openChat(key, hello);
      await answer.until((a) => textOf(a).length > 0);
      await answer.abort();
      const line = await callLine(server, answer);
      assert.equal(line.end, 'client_gone');
      assert.equal(line.usage, 'estimated');
      assert.ok(line.completion_tokens > 0 && line.prompt_tokens > 0);
    });
  });

  it('are not those of the first event where a client left later', async () => {
    const usage = { prompt_tokens: 321, completion_tokens: 1, total_tokens: 322 };
    const chunk = (delta) => ({
      id: 'x',
      object: 'chat.completion.chunk',
      created: 1,
      model,
      choices: [{ index: 0, delta, finish_reason: null }],
      usage,
    });
    const script = async (request, wire) => {
      wire.head();
      await wire.event(chunk({ role: 'assistant', content: 'It was ' }));
      for (let i = 0; i < 20; i++) {
        await wire.event({ ...chunk({ content: 'a long and winding story, ' }), usage: null });
      }
      return wire.stall();
    };
    await relay(script, async ({ server, key }) => {
      const answer = await server.openChat(key, hello);
      await answer.until((a) => textOf(a).length > 500);
      await answer.abort();
      const line = await callLine(server, answer);
      assert.equal(line.end, 'client_gone');
      assert.equal(line.prompt_tokens, 321, 'what was said of the prompt stands');
      assert.ok(line.completion_tokens > 50, `${line.completion_tokens}`);
      assert.equal(line.usage, 'estimated');
    });
  });
});

describe('metrics', () => {
  it('have the names of the conventions, by model and backend', async () => {
    await relay(reply({ usage: { prompt: 40, completion: 60 } }), async ({ server, key }) => {
      for (const stream of [false, true, true]) await server.chat(key, { ...hello, stream });
      const labels = { gen_ai_request_model: model, gen_ai_provider_name: 'up' };
      const count = (name, more = {}) => sum(server, name, { ...labels, ...more });
      await until(
        async () => (await count('gen_ai_server_request_duration_seconds_count')) === 3,
        'three calls',
      );
      assert.equal(await count('gen_ai_server_time_to_first_token_seconds_count'), 3);
      assert.ok((await count('gen_ai_server_time_per_output_token_seconds_count')) >= 1);
      const tokens = (type) => count('gen_ai_client_token_usage_sum', { gen_ai_token_type: type });
      assert.equal(await tokens('input'), 120);
      assert.equal(await tokens('output'), 180);
      assert.equal(await sum(server, 'moongate_tokens_total', { kind: 'completion' }), 180);
      assert.equal(await sum(server, 'moongate_usage_source_total', { source: 'upstream' }), 3);
      const health = { backend: 'up', state: 'closed' };
      assert.equal(await sum(server, 'moongate_backend_health', health), 1);
      assert.equal(await sum(server, 'moongate_backend_running', { backend: 'up' }), 0);
    });
  });

  it('tell of failures, of open circuits and of what waits', async () => {
    const port = await deadPort();
    await withUpstreams([refuse(500, openaiError('boom'))], async (second) => {
      const options = {
        backends: { first: { url: `http://127.0.0.1:${port}` }, second },
        routing: { tries: 2, failures: 1, open: '60s' },
      };
      await withGateway(options, async (server, key) => {
        assert.equal((await server.chat(key, hello)).status, 502);
        for (const backend of ['first', 'second']) {
          assert.equal(await sum(server, 'moongate_tries_failed_total', { backend }), 1);
          const open = { backend, state: 'open' };
          assert.equal(await sum(server, 'moongate_backend_health', open), 1);
        }
        const name = 'gen_ai_server_request_duration_seconds_count';
        await until(async () => (await sum(server, name, { error_type: 'api_error' })) === 1, 'it');
      });
    });
  });

  it('show how many calls run at a backend', async () => {
    await relay(
      (request, wire) => wire.stall(),
      async ({ server, key, upstream }) => {
        const calls = [0, 1].map(() => server.chat(key, hello).catch(() => {}));
        await upstream.asked(1);
        await server.untilMetric('moongate_calls_waiting', (n) => n === 1);
        assert.equal(await sum(server, 'moongate_backend_running', { backend: 'up' }), 1);
        assert.equal(await sum(server, 'moongate_backend_capacity', { backend: 'up' }), 1);
        upstream.requests[0].connection.socket.destroy();
        await upstream.asked(2);
        upstream.requests[1].connection.socket.destroy();
        await Promise.all(calls);
      },
      { backend: { concurrency: 1 }, routing: { tries: 1 } },
    );
  });

  it('and the log have no label, name or text that a client chose', async () => {
    await relay(reply(), async ({ server, key }) => {
      const odd = 'chosen-by-the-client';
      const messages = [{ role: 'user', content: odd }];
      await server.chat(key, { ...hello, model: odd });
      await server.chat(key, { ...hello, messages, user: odd, [odd]: 1 });
      await server.chat(key, { ...hello, messages }, { headers: { [odd]: odd } });
      await server.call('GET', `/v1/${odd}`, { key });
      await until(() => logLines(server).filter((l) => l.event === 'call').length >= 4, 'the log');
      const { text } = await server.call('GET', '/metrics');
      assert.ok(!text.includes(odd), 'the metrics');
      assert.ok(!server.log.includes(odd) && !server.log.includes(key), 'the log');
    });
  });

  it('are well-formed', async () => {
    await relay([reply(), refuse(400, openaiError('no'))], async ({ server, key }) => {
      await server.chat(key, hello);
      await server.chat(key, hello);
      const { text } = await server.call('GET', '/metrics');
      const types = new Map();
      const seen = new Set();
      for (const line of text.trimEnd().split('\n')) {
        const type = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line);
        if (type) {
          assert.ok(!types.has(type[1]), `${type[1]} has two types`);
          types.set(type[1], type[2]);
        } else if (!line.startsWith('# HELP ')) {
          const [, name, series] = /^(([a-z_]+)(?:\{[^}]*\})?) -?[0-9.e+-]+$/.exec(line) ?? [];
          assert.ok(name, `no sample: ${line}`);
          assert.ok(!seen.has(name), `${name} comes twice`);
          seen.add(name);
          const base = series.replace(/_(bucket|sum|count)$/, '');
          assert.ok(types.has(series) || types.get(base) === 'histogram', `${series} has no type`);
        }
      }
    });
  });
});
