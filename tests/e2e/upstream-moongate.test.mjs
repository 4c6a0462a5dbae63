// moongate in front of moongate: two real programs, and a client that cannot tell one from two.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import OpenAI, { AuthenticationError, BadRequestError, InternalServerError } from 'openai';
import { finishOf, textOf } from './lib/client.mjs';
import { reply } from './lib/dialects.mjs';
import { callLine, closeAll, configOf, model, relay } from './lib/gateway.mjs';
import { Server, endless, hello } from './lib/server.mjs';

const repeatable = { ...hello, temperature: 0 };
const usageOf = (answer) => answer.chunks.find((chunk) => chunk.choices.length === 0).usage;

describe('moongate in front of moongate', () => {
  let behind, front, behindKey, key;
  before(async () => {
    behind = await Server.start({ set: { 'limits.body_bytes': '64KiB' } });
    behindKey = await behind.key();
    process.env.E2E_BEHIND_KEY = behindKey;
    const up = { url: behind.origin, key_env: 'E2E_BEHIND_KEY' };
    const unknown = { ...up, key_env: undefined };
    const routes = (name, as) => [{ name, model: as }];
    front = await Server.start({
      config: configOf({
        backends: { up, unknown },
        routing: { tries: 1, failures: 1000 }, // a wrong name or key is no reason to wait here
        models: [
          { id: model, like: model, fixed_sampling: false, backends: routes('up') },
          { id: 'renamed', like: model, backends: routes('up', 'kimi-k2.6') },
          { id: 'missing', backends: routes('up', 'no-such-model') },
          { id: 'keyless', backends: routes('unknown', model) },
        ],
      }),
    });
    key = await front.key();
  });
  after(async () => {
    await closeAll(front);
    await closeAll(behind);
  });

  it('gives the whole reply of the one behind', async () => {
    const near = await behind.chat(behindKey, repeatable);
    const far = await front.chat(key, repeatable);
    assert.equal(far.status, 200, far.text);
    assert.deepEqual(far.json.choices, near.json.choices);
    const { cached_tokens, prompt_tokens_details, ...usage } = near.json.usage;
    for (const [name, value] of Object.entries(usage)) {
      assert.deepEqual(far.json.usage[name], value, name);
    }
    assert.equal((await callLine(front, far)).usage, 'upstream');
    assert.notEqual(far.json.id, near.json.id);
  });

  it('gives its stream', async () => {
    const body = { ...repeatable, stream: true, stream_options: { include_usage: true } };
    const near = await behind.chat(behindKey, body);
    const far = await front.chat(key, body);
    for (const field of ['content', 'reasoning', 'reasoning_content']) {
      assert.equal(textOf(far, 0, field), textOf(near, 0, field), field);
    }
    assert.equal(finishOf(far), finishOf(near));
    assert.equal(usageOf(far).completion_tokens, usageOf(near).completion_tokens);
    assert.equal(usageOf(far).prompt_tokens, usageOf(near).prompt_tokens);
  });

  it('gives log-probabilities and several choices', async () => {
    const body = { ...repeatable, n: 2, max_tokens: 8, logprobs: true, top_logprobs: 2, seed: 3 };
    const free = { ...body, temperature: 0.7, thinking: { type: 'disabled' } };
    const near = await behind.chat(behindKey, free);
    const far = await front.chat(key, free);
    assert.equal(far.status, 200, far.text);
    assert.equal(far.json.choices.length, near.json.choices.length);
    for (const choice of far.json.choices) assert.equal(choice.logprobs.content.length, 8);
  });

  it('calls the model by its other name', async () => {
    const far = await front.chat(key, { ...endless(5), model: 'renamed' });
    assert.equal(far.json.model, 'renamed');
    assert.equal(textOf(far).length, 5);
  });

  it('hands on what is wrong with a request, and hides what is wrong with itself', async () => {
    const cases = [
      [{ model: 'missing' }, 502, 'api_error'],
      [{ model: 'keyless' }, 502, 'api_error'],
      [{ messages: [{ role: 'user', content: 'x'.repeat(20_000) }] }, 400, 'bad_request'],
      [{ messages: [{ role: 'user', content: 'x'.repeat(100_000) }] }, 413, 'bad_request'],
    ];
    for (const [more, status, code] of cases) {
      for (const stream of [false, true]) {
        const far = await front.chat(key, { ...hello, ...more, stream });
        assert.equal(far.status, status, far.text);
        assert.equal(far.json.error.code, code);
        assert.ok(!far.text.includes(behindKey));
      }
    }
    const long = await front.chat(key, { ...hello, ...cases[2][0] });
    assert.match(long.json.error.message, /exceeded model token limit/, 'in its own words');
  });

  it('stops the engine behind when the client leaves', async () => {
    const far = await front.openChat(key, endless(1900, { n: 5 }));
    await far.until((a) => textOf(a).length > 0);
    await far.abort();
    await behind.untilMetric('moongate_engine_sequences_running', (n) => n === 0);
    await behind.untilMetric('moongate_calls_running', (n) => n === 0);
  });

  it('is the same to the openai package', async () => {
    const openai = new OpenAI({ baseURL: `${front.origin}/v1`, apiKey: key, maxRetries: 0 });
    const whole = await openai.chat.completions.create(repeatable);
    const helper = openai.chat.completions.stream({
      ...repeatable,
      stream_options: { include_usage: true },
    });
    const final = await helper.finalChatCompletion();
    assert.equal(final.choices[0].message.content, whole.choices[0].message.content);
    assert.equal(final.usage.total_tokens, whole.usage.total_tokens);
    await assert.rejects(
      openai.chat.completions.create({ ...hello, temperature: 9 }),
      BadRequestError,
    );
    await assert.rejects(
      openai.chat.completions.create({ ...hello, model: 'missing' }),
      InternalServerError,
    );
    await assert.rejects(
      new OpenAI({ baseURL: `${front.origin}/v1`, apiKey: 'x' }).chat.completions.create(hello),
      AuthenticationError,
    );
  });
});

describe('the openai package in front of an upstream', () => {
  it('gathers tool calls from a stream', async () => {
    const tools = [
      [{ index: 0, id: 'functions.f:0', type: 'function', function: { name: 'f', arguments: '' } }],
      [{ index: 1, id: 'functions.g:1', type: 'function', function: { name: 'g', arguments: '' } }],
      [{ index: 0, function: { arguments: '{"a":' } }],
      [{ index: 1, function: { arguments: '{}' } }],
      [{ index: 0, function: { arguments: '1}' } }],
    ];
    const script = reply({ content: [], tools, finish: 'tool_calls' }, 'moonshot');
    await relay(script, async ({ server, key }) => {
      const openai = new OpenAI({ baseURL: `${server.origin}/v1`, apiKey: key });
      const named = (name) => ({ type: 'function', function: { name, parameters: {} } });
      const body = { ...hello, tools: [named('f'), named('g')] };
      const whole = await openai.chat.completions.create(body);
      const final = await openai.chat.completions.stream(body).finalChatCompletion();
      for (const { message, finish_reason: finish } of [whole.choices[0], final.choices[0]]) {
        assert.equal(finish, 'tool_calls');
        const calls = message.tool_calls.map((c) => [c.id, c.function.name, c.function.arguments]);
        assert.deepEqual(calls, [
          ['functions.f:0', 'f', '{"a":1}'],
          ['functions.g:1', 'g', '{}'],
        ]);
      }
    });
  });
});
