// What an upstream is sent: written anew from the parsed tree, with our key, our model name and
// our trace id, and nothing of the client's but what it may pass on.
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { reply } from './lib/dialects.mjs';
import { closeAll, configOf, model, relay } from './lib/gateway.mjs';
import { Server, folder, hello, run } from './lib/server.mjs';
import { Upstream } from './lib/upstream.mjs';

const secret = 'sk-upstream-1a2b3c4d5e6f7a8b9c0d';
const image = (url) => ({
  ...hello,
  messages: [
    {
      role: 'user',
      content: [
        { type: 'text', text: 'What is this?' },
        { type: 'image_url', image_url: { url, detail: 'low' } },
      ],
    },
  ],
});
const weather = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'Tells the weather',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
    strict: true,
  },
};

describe('the request to an upstream', () => {
  let server, key, upstream, data;
  before(async () => {
    upstream = await Upstream.start(reply());
    data = folder();
    writeFileSync(join(data, 'key'), `${secret}\n`);
    const up = {
      upstream,
      prefix: '/api/v9',
      key_file: join(data, 'key'),
      headers: { 'x-tenant': 'team-7', 'x-route': 'blue' },
      forward: ['x-session-id', 'accept-language'],
    };
    const routes = (name) => [{ name: 'up', model: name }];
    server = await Server.start({
      config: configOf({
        backends: { up },
        models: [
          { id: model, like: model, backends: routes('moonshotai/Kimi-K2.5'), images: true },
          { id: 'free', backends: routes('free-model'), thinking: 'off' },
          { id: 'strict', like: model, strict: true, backends: routes('') },
        ],
      }),
    });
    key = await server.key();
  });
  after(async () => {
    await closeAll(server, upstream);
    rmSync(data, { recursive: true });
  });

  const send = async (body, options) => {
    const answer = await server.chat(key, body, options);
    assert.equal(answer.status, 200, answer.text);
    return { answer, request: upstream.requests.at(-1) };
  };
  const value = (request, name) => request.headers[name];

  it('goes to the path below the prefix, whole or as a stream', async () => {
    for (const stream of [false, true]) {
      for (const path of ['/v1/chat/completions', '/kimi/chat/completions']) {
        const { request } = await send({ ...hello, stream }, { path });
        assert.equal(request.method, 'POST');
        assert.equal(request.path, '/api/v9/chat/completions');
        assert.match(value(request, 'content-type'), /^application\/json/);
        assert.equal(request.body.stream ?? false, stream);
      }
    }
  });

  it('has the name that the upstream knows the model by', async () => {
    const { request, answer } = await send(hello);
    assert.equal(request.body.model, 'moonshotai/Kimi-K2.5');
    assert.equal(answer.json.model, model);
    assert.equal((await send({ ...hello, model: 'free' })).request.body.model, 'free-model');
    assert.equal((await send({ ...hello, model: 'strict' })).request.body.model, 'strict');
  });

  it('asks a stream for usage whatever the client says', async () => {
    for (const options of [
      undefined,
      null,
      {},
      { include_usage: false },
      { include_usage: true },
    ]) {
      const body = { ...hello, stream: true };
      if (options !== undefined) body.stream_options = options;
      const { request } = await send(body);
      assert.deepEqual(request.body.stream_options, { include_usage: true });
    }
    const { request } = await send({
      ...hello,
      stream: true,
      stream_options: { include_usage: false, continuous_usage_stats: false },
    });
    assert.deepEqual(request.body.stream_options, {
      continuous_usage_stats: false,
      include_usage: true,
    });
    assert.ok(!('stream_options' in (await send(hello)).request.body));
  });

  it('passes on what it does not know, as it came', async () => {
    const unknown = {
      service_tier: 'auto',
      prompt_cache_key: 'conversation 7 \u0001\u001f\ud83d\ude00 \u00e9\u4f60',
      guided_choice: ['a', 'b'],
      extra: { deep: [{ a: null, b: true, c: -1.5e-7, d: '' }, [], {}] },
      repetition_penalty: 1.05,
      store: false,
    };
    const { request } = await send({ ...hello, ...unknown, max_tokens: 77, seed: 12 });
    for (const [name, wanted] of Object.entries(unknown)) {
      assert.deepEqual(request.body[name], wanted, name);
    }
    assert.equal(request.body.max_tokens, 77);
    assert.equal(request.body.seed, 12);
    assert.deepEqual(request.body.messages, hello.messages);
  });

  it('keeps the digits of numbers', async () => {
    const text = JSON.stringify(hello).replace(
      /}$/,
      ',"big":9007199254740993,"small":0.1000000000000000055,"huge":1e300}',
    );
    const { request } = await send(text);
    assert.match(request.text, /"big":9007199254740993\b/);
    assert.match(request.text, /"small":0\.1000000000000000055\b/);
  });

  it('passes on tools, tool turns and formats', async () => {
    const body = {
      ...hello,
      tools: [weather],
      tool_choice: 'auto',
      parallel_tool_calls: true,
      response_format: { type: 'json_object' },
      messages: [
        { role: 'user', content: 'Weather in Oslo, as JSON?' },
        {
          role: 'assistant',
          content: '',
          reasoning_content: 'I must look.',
          tool_calls: [
            {
              id: 'functions.get_weather:0',
              type: 'function',
              function: { name: 'get_weather', arguments: '{"city":"Oslo"}' },
            },
          ],
        },
        { role: 'tool', tool_call_id: 'functions.get_weather:0', content: '{"c":4}' },
      ],
    };
    const { request } = await send(body);
    for (const name of ['tools', 'tool_choice', 'response_format', 'messages']) {
      assert.deepEqual(request.body[name], body[name], name);
    }
    assert.equal(request.body.parallel_tool_calls, true);
  });

  it("has our key and never the client's", async () => {
    const { request } = await send(hello);
    assert.equal(value(request, 'authorization'), `Bearer ${secret}`);
    const seen = JSON.stringify(request.fields) + request.text;
    assert.ok(!seen.includes(key) && !seen.includes('mg-'));
  });

  it("has none of the client's headers except those that may pass", async () => {
    const { request } = await send(hello, {
      headers: {
        cookie: 'session=s3cret-cookie',
        'user-agent': 'agent-of-the-client/1',
        'x-forwarded-for': '203.0.113.9',
        'x-api-key': 'client-api-key',
        'openai-organization': 'org-client',
        'x-stainless-lang': 'js',
        'x-request-id': 'chosen-by-the-client',
        'x-tenant': 'chosen-by-the-client',
        'x-session-id': 'session-42',
        'accept-language': 'de',
        te: 'trailers',
      },
    });
    assert.equal(value(request, 'x-session-id'), 'session-42');
    assert.equal(value(request, 'accept-language'), 'de');
    assert.equal(value(request, 'x-tenant'), 'team-7');
    assert.equal(value(request, 'x-route'), 'blue');
    const seen = JSON.stringify(request.fields);
    assert.ok(!/client|cookie|203\.0|org-|stainless|trailers/i.test(seen), seen);
    const names = request.fields.map(([name]) => name.toLowerCase()).sort();
    assert.deepEqual(names, [...new Set(names)], 'no header comes twice');
    const ours = [
      'accept',
      'accept-language',
      'authorization',
      'content-length',
      'content-type',
      'host',
      'traceparent',
      'user-agent',
      'x-request-id',
      'x-route',
      'x-session-id',
      'x-tenant',
    ];
    for (const name of names) assert.ok(ours.includes(name), `it sends ${name}`);
    const { request: without } = await send(hello);
    assert.equal(value(without, 'x-session-id'), undefined);
  });

  it('carries the trace id', async () => {
    const { request, answer } = await send(hello);
    assert.equal(value(request, 'x-request-id'), answer.headers['x-trace-id']);
  });

  it("goes on with the client's trace, or begins one", async () => {
    const trace = '4bf92f3577b34da6a3ce929d0e0e4736';
    const parent = '00f067aa0ba902b7';
    const given = await send(hello, { headers: { traceparent: `00-${trace}-${parent}-00` } });
    const [version, id, span, flags] = value(given.request, 'traceparent').split('-');
    assert.deepEqual([version, id, flags], ['00', trace, '00']);
    assert.match(span, /^[0-9a-f]{16}$/);
    assert.notEqual(span, parent);
    const bad = [undefined, 'x', `00-${'0'.repeat(32)}-${parent}-01`, `ff-${trace}-${parent}-01`];
    for (const traceparent of bad) {
      const headers = traceparent === undefined ? {} : { traceparent };
      const { request } = await send(hello, { headers });
      assert.match(value(request, 'traceparent'), /^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/);
      assert.ok(!value(request, 'traceparent').includes(trace));
    }
  });

  it('leaves sampling to the upstream, and out where the model fixes it', async () => {
    const sampling = { temperature: 1.7, top_p: 0.3, presence_penalty: 0.5, frequency_penalty: -1 };
    const free = await send({ ...hello, model: 'free', ...sampling });
    for (const [name, wanted] of Object.entries(sampling)) {
      assert.equal(free.request.body[name], wanted, name);
    }
    const fixed = await send({ ...hello, ...sampling });
    for (const name of Object.keys(sampling)) assert.ok(!(name in fixed.request.body), name);
    const asked = upstream.requests.length;
    const refused = await server.chat(key, { ...hello, model: 'strict', ...sampling });
    assert.equal(refused.status, 400);
    assert.equal(upstream.requests.length, asked, 'a mistake found here does not go up');
  });

  it('carries pictures as they are, and nobody here looks them up', async () => {
    const host = await Upstream.start(reply());
    const body = image(`${host.url}/cat.png?secret=1`);
    const { request } = await send(body);
    assert.deepEqual(request.body.messages, body.messages);
    const refused = await server.chat(key, { ...body, model: 'free' });
    assert.equal(refused.status, 400);
    assert.equal(refused.json.error.code, 'api_not_implemented');
    assert.equal(refused.json.error.param, 'messages[0].content[1].type');
    assert.equal(host.connections.length, 0);
    await host.close();
  });

  it('is read whole however long it is', async () => {
    const long = 'abcdefghij \u4f60\u597d '.repeat(100_000);
    const { request } = await send({ ...hello, messages: [{ role: 'user', content: long }] });
    assert.equal(request.body.messages[0].content, long);
  });

  it('comes over a connection that is kept', async () => {
    for (let i = 0; i < 5; i++) await send({ ...hello, stream: i % 2 === 0 });
    const open = upstream.connections.filter((one) => one.goneAt === undefined);
    assert.ok(open.length <= 2, `${open.length} connections are open`);
    const { request } = await send(hello);
    assert.ok(open.includes(request.connection), 'the last call came over an older connection');
  });

  it('gets there also when the upstream has just closed what was kept', async () => {
    for (let i = 0; i < 8; i++) {
      const { request } = await send({ ...hello, stream: i % 2 === 0 });
      request.connection.socket.end();
      if (i % 4 > 1) await new Promise((resolve) => setTimeout(resolve, 20)); // seen before, too
    }
  });

  it('shows its keys nowhere', async () => {
    const shown = await run(['config', 'show', '--config', server.config]);
    const metrics = await server.call('GET', '/metrics');
    for (const text of [server.log, shown.stdout, shown.stderr, metrics.text]) {
      assert.ok(!text.includes(secret) && !text.includes(key));
    }
  });
});

describe('the key of an upstream', () => {
  it('comes from the environment', async () => {
    process.env.E2E_UPSTREAM_KEY = secret;
    await relay(
      reply(),
      async ({ server, key, upstream }) => {
        assert.equal((await server.chat(key, hello)).status, 200);
        assert.equal(upstream.requests[0].headers.authorization, `Bearer ${secret}`);
      },
      { backend: { key_env: 'E2E_UPSTREAM_KEY' } },
    );
  });

  it('is none where none is configured', async () => {
    await relay(reply(), async ({ server, key, upstream }) => {
      assert.equal((await server.chat(key, hello)).status, 200);
      assert.equal(upstream.requests[0].headers.authorization, undefined);
      assert.equal(upstream.requests[0].path, '/v1/chat/completions', 'the usual prefix');
    });
  });
});

describe('thinking', () => {
  it('is also written where open servers read it', async () => {
    await relay(
      reply(),
      async ({ server, key, upstream }) => {
        for (const type of ['enabled', 'disabled']) {
          await server.chat(key, {
            ...hello,
            thinking: { type },
            chat_template_kwargs: { own: 1 },
          });
          const on = type === 'enabled';
          const { body } = upstream.requests.at(-1);
          assert.deepEqual(body.thinking, { type });
          assert.deepEqual(body.chat_template_kwargs, {
            own: 1,
            thinking: on,
            enable_thinking: on,
          });
        }
      },
      { backend: { template_kwargs: true } },
    );
  });
});
