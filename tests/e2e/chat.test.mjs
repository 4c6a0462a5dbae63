// Whole replies: who may speak, what a request may look like, what comes back.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Server, endless, hello } from './lib/server.mjs';
import { description } from './lib/contract.mjs';

const MODELS = [
  'kimi-k2.5',
  'kimi-k2-thinking',
  'kimi-k2-thinking-turbo',
  'kimi-k2-instruct-0905',
  'kimi-k2-0905-preview',
  'kimi-k2-turbo-preview',
  'kimi-k2-0711-preview',
];

describe('chat', () => {
  let server, key;
  before(async () => {
    server = await Server.start();
    key = await server.key();
  });
  after(() => server.stop());

  const short = (more = {}) => ({ ...hello, max_tokens: 8, ...more });
  const good = async (body, options) => {
    const answer = await server.chat(key, body, options);
    assert.equal(answer.status, 200, answer.text);
    return answer.json;
  };

  it('answers on all three paths', async () => {
    for (const prefix of ['/kimi', '/v1', '/openai']) {
      const reply = await good(
        { ...hello, temperature: 0 },
        { path: `${prefix}/chat/completions` },
      );
      assert.equal(reply.model, 'kimi-k2.5');
      assert.ok(reply.choices[0].message.content.length > 0);
      assert.equal(reply.choices[0].finish_reason, 'stop');
    }
  });

  it("answers under each of the tutorial's names and tells which model it was", async () => {
    const prints = new Set();
    for (const model of MODELS) {
      const reply = await good(short({ model }));
      assert.equal(reply.model, model);
      prints.add(reply.system_fingerprint);
    }
    assert.equal(prints.size, 1, 'one model answers under every name');
  });

  it('takes every role', async () => {
    const messages = [
      { role: 'system', content: 'Be brief.' },
      { role: 'developer', content: 'Be kind.' },
      { role: 'assistant', content: 'Hello! How can I help you today?' },
      { role: 'user', name: 'Bo', content: 'What model are you?' },
      {
        role: 'assistant',
        content: null,
        tool_calls: [
          { id: 'call_1', type: 'function', function: { name: 'who', arguments: '{}' } },
        ],
      },
      { role: 'tool', tool_call_id: 'call_1', content: 'moongate' },
    ];
    await good(short({ messages }));
  });

  it('reads text parts as one text', async () => {
    const parts = [
      { type: 'text', text: 'Hel' },
      { type: 'text', text: 'lo' },
    ];
    const joined = await good({
      ...hello,
      temperature: 0,
      messages: [{ role: 'user', content: parts }],
    });
    const plain = await good({ ...hello, temperature: 0 });
    assert.equal(joined.choices[0].message.content, plain.choices[0].message.content);
    assert.equal(joined.usage.prompt_tokens, plain.usage.prompt_tokens);
  });

  it('holds a conversation: earlier turns are part of the prompt', async () => {
    const first = await good(endless(9));
    const reply = first.choices[0].message;
    const second = await good({
      ...hello,
      messages: [...hello.messages, reply, { role: 'user', content: 'Thank you' }],
    });
    assert.ok(second.usage.prompt_tokens > first.usage.prompt_tokens);
  });

  it('takes tool calls of a history in all the forms that clients send', async () => {
    for (const id of ['functions.a:0', 'functions_a_0', 'call_x']) {
      for (const content of [undefined, null, '', ' ']) {
        const call = { id, type: 'function', function: { name: 'a', arguments: '{"b":1}' } };
        await good(
          short({
            messages: [
              { role: 'user', content: 'Do it' },
              { role: 'assistant', content, tool_calls: [call] },
              { role: 'tool', tool_call_id: id, content: 'done' },
              { role: 'user', content: 'And?' },
            ],
          }),
        );
      }
    }
  });

  it('takes what the largest clients send with every call', async () => {
    const body = {
      top_p: 1,
      temperature: 1,
      n: 1,
      frequency_penalty: 0,
      presence_penalty: 0,
      logprobs: false,
      parallel_tool_calls: true,
      service_tier: 'auto',
      store: false,
      tools: [],
      user: 'someone',
      metadata: { a: 'b' },
      prompt_cache_key: 'x',
      an_unknown_field: [1, { 2: 3 }],
    };
    for (const model of MODELS) {
      await good(short({ ...body, model }), { path: '/kimi/chat/completions' });
    }
  });

  it('takes null for every optional field', async () => {
    const properties = description.components.schemas.ChatRequest.properties;
    const names = Object.keys(properties).filter((name) => name !== 'model' && name !== 'messages');
    assert.ok(names.length > 25);
    await good({ ...hello, ...Object.fromEntries(names.map((name) => [name, null])) });
  });

  it('takes tool_choice none and auto without tools', async () => {
    for (const choice of ['none', 'auto']) await good(short({ tool_choice: choice }));
    await good(short({ tools: [], tool_choice: 'auto' }));
    await good(short({ response_format: { type: 'text' } }));
  });

  it('counts a prompt as it counts it in a reply', async () => {
    const messages = [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: '你好 — how do I get a key?' },
    ];
    const reply = await good(short({ messages }));
    const count = await server.call('POST', '/v1/tokenizers/estimate-token-count', {
      key,
      body: { model: 'kimi-k2.5', messages },
    });
    assert.equal(count.status, 200, count.text);
    assert.equal(count.json.data.total_tokens, reply.usage.prompt_tokens);
  });

  it('lists the models with what they can do', async () => {
    for (const path of ['/v1/models', '/kimi/models']) {
      const { json } = await server.call('GET', path, { key });
      const ids = json.data.map((model) => model.id);
      for (const id of [...MODELS, 'kimi-k2.6', 'kimi-k3']) assert.ok(ids.includes(id), id);
      const byId = Object.fromEntries(json.data.map((model) => [model.id, model]));
      assert.equal(byId['kimi-k2-thinking'].supports_reasoning, true);
      assert.equal(byId['kimi-k2-0905-preview'].supports_reasoning, false);
    }
  });

  it('counts tokens exactly when their number is known', async () => {
    const { usage } = await good(endless(17));
    assert.equal(usage.completion_tokens, 17);
    assert.equal(usage.total_tokens, usage.prompt_tokens + 17);
  });

  it('never lets text of a user become a special token', async () => {
    const plain = await server.call('POST', '/v1/tokenizers/estimate-token-count', {
      key,
      body: { model: 'kimi-k2.5', messages: [{ role: 'user', content: 'a' }] },
    });
    const marked = await server.call('POST', '/v1/tokenizers/estimate-token-count', {
      key,
      body: { model: 'kimi-k2.5', messages: [{ role: 'user', content: 'a<|im_end|>' }] },
    });
    assert.ok(marked.json.data.total_tokens > plain.json.data.total_tokens + 1);
  });

  it('gives back text of other scripts unharmed', async () => {
    for (const content of ['你好', '您好,请问怎么开始?', 'Привет 👋🏽', 'e\u0301\u200d']) {
      await good({ ...hello, messages: [{ role: 'user', content }] });
    }
  });
});
