// What the parameters of a request do to its reply. No test knows what the model says: replies
// are compared with each other, or their tokens are forced by a bias.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { textOf } from './lib/client.mjs';
import { Server, endless, hello, withServer } from './lib/server.mjs';
import { alone } from './lib/stores.mjs';

const instant = { ...hello, thinking: { type: 'disabled' } };

describe('sampling', () => {
  let server, key;
  before(async () => {
    server = await Server.start();
    key = await server.key();
  });
  after(() => server.stop());

  const good = async (body) => {
    const answer = await server.chat(key, body);
    assert.equal(answer.status, 200, answer.text);
    return answer;
  };

  it('gives the same greedy reply each time', async () => {
    const first = textOf(await good({ ...instant, temperature: 0 }));
    assert.ok(first.length > 0);
    assert.equal(textOf(await good({ ...instant, temperature: 0 })), first);
    assert.equal(textOf(await good({ ...instant, temperature: 1.5, top_k: 1 })), first);
  });

  it('gives the same reply for the same seed', async () => {
    const wild = { ...instant, temperature: 2, top_p: 1, max_tokens: 60 };
    for (const seed of [0, 7, -3, 9007199254740991]) {
      const first = textOf(await good({ ...wild, seed }));
      assert.equal(textOf(await good({ ...wild, seed })), first);
    }
  });

  it('gives different replies for the choices of one call', async () => {
    const wild = { ...instant, temperature: 2, top_p: 1, max_tokens: 60, n: 5, seed: 1 };
    const { json } = await good(wild);
    assert.deepEqual(
      json.choices.map((choice) => choice.index),
      [0, 1, 2, 3, 4],
    );
    assert.ok(new Set(json.choices.map((choice) => choice.message.content)).size > 1);
    const again = await good(wild);
    assert.deepEqual(again.json.choices, json.choices);
  });

  it('counts the tokens of all choices', async () => {
    const { json } = await good(endless(5, { n: 2 }));
    assert.equal(json.choices.length, 2);
    for (const choice of json.choices) assert.equal(choice.finish_reason, 'length');
    assert.equal(json.usage.completion_tokens, 10);
  });

  it('stops after max_tokens, of which the newer name wins', async () => {
    const { json } = await good(endless(9));
    assert.equal(json.choices[0].finish_reason, 'length');
    assert.equal(json.usage.completion_tokens, 9);
    const both = await good(endless(9, { max_completion_tokens: 4 }));
    assert.equal(both.json.usage.completion_tokens, 4);
  });

  it('writes as long as the context allows if nothing else ends it', async () => {
    const models = await server.call('GET', '/v1/models', { key });
    const context = models.json.data.find((model) => model.id === 'kimi-k2.5').context_length;
    for (const limit of [undefined, 1_000_000]) {
      const { json } = await good(endless(limit));
      assert.equal(json.choices[0].finish_reason, 'length');
      assert.equal(json.usage.total_tokens, context);
    }
  });

  it('does what a bias forces', async () => {
    const text = textOf(await good(endless(12)));
    assert.equal(new Set(text).size, 1);
    const other = textOf(await good(endless(12, { logit_bias: { 65: 100 } })));
    assert.notEqual(other, text);
    const forbidden = await good(endless(12, { logit_bias: { 64: 100, 65: -100 } }));
    assert.equal(textOf(forbidden), text);
  });

  it('penalises what was said already', async () => {
    const strong = { logit_bias: { 64: 60 } };
    const once = textOf(await good(endless(100, { ...strong, temperature: 0 })));
    assert.equal(new Set(once).size, 1, 'the bias is strong enough to begin with');
    const text = textOf(
      await good(endless(100, { ...strong, temperature: 0, frequency_penalty: 2 })),
    );
    assert.ok(text.startsWith(once.slice(0, 5)));
    assert.notEqual(text, once);
    const letters = Object.fromEntries(Array.from({ length: 26 }, (_, i) => [64 + i, 100]));
    const kinds = async (penalty) => {
      const body = endless(40, { logit_bias: letters, temperature: 0, presence_penalty: penalty });
      return new Set(textOf(await good(body))).size;
    };
    assert.ok((await kinds(2)) > (await kinds(-2)));
  });

  it('cuts the reply before a stop string, wherever token borders are', async () => {
    const whole = textOf(await good({ ...instant, temperature: 0 }));
    const characters = [...whole];
    assert.ok(characters.length > 6);
    for (let at = 1; at + 3 <= Math.min(characters.length, 12); at++) {
      const stop = characters.slice(at, at + 3).join('');
      const answer = await good({ ...instant, temperature: 0, stop: [stop, 'never said at all'] });
      assert.equal(textOf(answer), whole.slice(0, whole.indexOf(stop)));
      assert.equal(answer.json.choices[0].finish_reason, 'stop');
      const streamed = await good({ ...instant, temperature: 0, stop, stream: true });
      assert.equal(textOf(streamed), whole.slice(0, whole.indexOf(stop)));
    }
    const never = await good({ ...instant, temperature: 0, stop: ['never said at all', ''] });
    assert.equal(textOf(never), whole);
  });

  it('tells log-probabilities that fit the text', async () => {
    const answer = await good({ ...instant, temperature: 0, logprobs: true, top_logprobs: 5 });
    const { content } = answer.json.choices[0].logprobs;
    assert.equal(Buffer.from(content.flatMap((e) => e.bytes)).toString('utf8'), textOf(answer));
    for (const entry of content) {
      assert.equal(entry.top_logprobs.length, 5);
      const values = entry.top_logprobs.map((top) => top.logprob);
      assert.deepEqual(
        values,
        [...values].sort((a, b) => b - a),
        'the likeliest first',
      );
      assert.ok(values.reduce((sum, v) => sum + Math.exp(v), 0) < 1.0001);
      assert.deepEqual(entry.bytes, entry.top_logprobs[0].bytes, 'greedy takes the likeliest');
      assert.equal(entry.logprob, values[0]);
    }
    const without = await good({ ...instant, temperature: 0, logprobs: true });
    for (const entry of without.json.choices[0].logprobs.content) {
      assert.deepEqual(entry.top_logprobs, []);
    }
    assert.equal(textOf(without), textOf(answer));
  });

  it('goes on after a partial message', async () => {
    const messages = [...hello.messages, { role: 'assistant', content: 'Hello', partial: true }];
    const answer = await good({ ...instant, messages, temperature: 0 });
    const closed = await good({
      ...instant,
      messages: [...hello.messages, { role: 'assistant', content: 'Hello' }],
      temperature: 0,
    });
    assert.ok(answer.json.usage.prompt_tokens < closed.json.usage.prompt_tokens);
  });

  it('thinks when it is told to, and only then', async () => {
    const on = await good(endless(20, { thinking: { type: 'enabled' } }));
    const message = on.json.choices[0].message;
    assert.equal(message.content, '');
    assert.ok(message.reasoning_content.length > 0);
    assert.equal(message.reasoning, message.reasoning_content);
    assert.equal(on.json.usage.completion_tokens_details.reasoning_tokens, 20);
    const off = await good(endless(20));
    assert.equal(off.json.choices[0].message.reasoning_content, null);
    assert.equal(off.json.choices[0].message.reasoning, null);
    assert.equal(off.json.usage.completion_tokens_details.reasoning_tokens, 0);
    assert.equal(textOf(off), message.reasoning_content);
  });

  it('takes the spellings that other servers have for thinking', async () => {
    const off = [
      { thinking: false },
      { thinking: undefined, enable_thinking: false },
      { thinking: undefined, chat_template_kwargs: { thinking: false } },
      { thinking: undefined, reasoning_effort: 'none' },
    ];
    for (const more of off) {
      const { json } = await good(endless(4, more));
      assert.equal(json.choices[0].message.reasoning_content, null, JSON.stringify(more));
    }
    const usual = await good(endless(4, { thinking: undefined, reasoning_effort: 'low' }));
    assert.ok(usual.json.choices[0].message.reasoning_content.length > 0);
  });

  it('knows models that always think and models that never do', async () => {
    const always = await good(endless(4, { model: 'kimi-k2-thinking' }));
    assert.ok(always.json.choices[0].message.reasoning_content.length > 0);
    const never = endless(4, { model: 'kimi-k2-0905-preview', thinking: { type: 'enabled' } });
    assert.equal((await good(never)).json.choices[0].message.reasoning_content, null);
  });

  it('shows the model its earlier reasoning again if it is told to keep it', async () => {
    const prompt = async (keep) => {
      const messages = [
        ...hello.messages,
        { role: 'assistant', content: 'Hello!', reasoning_content: 'A greeting, so I greet back.' },
        { role: 'user', content: 'Thank you' },
      ];
      const answer = await good(endless(2, { messages, thinking: { type: 'enabled', keep } }));
      return answer.json.usage.prompt_tokens;
    };
    assert.ok((await prompt('all')) > (await prompt(null)));
  });

  it('finds the beginning of a prompt in its cache and says so', alone, async () => {
    const long = Array.from({ length: 60 }, (_, i) => `Fact ${i} is ${i * i}.`).join(' ');
    const body = endless(8, {
      messages: [
        { role: 'system', content: long },
        { role: 'user', content: 'What is fact 7?' },
      ],
    });
    const cold = await good(body);
    const warm = await good(body);
    assert.equal(textOf(warm), textOf(cold));
    assert.ok(warm.json.usage.cached_tokens > cold.json.usage.prompt_tokens / 2);
    assert.ok(warm.json.usage.cached_tokens < warm.json.usage.prompt_tokens);
    const { usage } = warm.json;
    assert.equal(usage.prompt_tokens_details.cached_tokens, usage.cached_tokens);
    const other = structuredClone(body);
    other.messages[1].content = 'And fact 9?';
    assert.ok((await good(other)).json.usage.cached_tokens > 0, 'the shared beginning is found');
  });

  it('gives the same greedy reply from a cold and from a warm cache', async () => {
    await withServer({}, async (fresh, freshKey) => {
      const body = { ...instant, temperature: 0, logprobs: true, top_logprobs: 3 };
      const cold = await fresh.chat(freshKey, body);
      const warm = await fresh.chat(freshKey, body);
      assert.equal(cold.json.usage.cached_tokens, 0);
      assert.deepEqual(warm.json.choices, cold.json.choices, 'bit for bit, log-probabilities too');
    });
  });
});
