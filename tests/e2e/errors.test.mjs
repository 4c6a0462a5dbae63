// Refusals: their status, their code, and that they come before anything was spent.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Server, hello } from './lib/server.mjs';

const CHAT = ['/kimi/chat/completions', '/v1/chat/completions', '/openai/chat/completions'];

describe('errors', () => {
  let server, key;
  before(async () => {
    server = await Server.start();
    key = await server.key();
  });
  after(async () => {
    assert.equal(await server.metric('moongate_tokens_total{kind="completion"}'), 0);
    await server.stop();
  });

  const refused = (answer, status, code, param) => {
    assert.equal(answer.status, status, answer.text);
    assert.equal(answer.json.error.code, code, answer.text);
    if (param !== undefined) assert.equal(answer.json.error.param, param, answer.text);
    const mayPass = status === 429 || status === 408 || (status >= 500 && status < 505);
    assert.equal(answer.headers['x-should-retry'], String(mayPass));
    return answer.json.error;
  };
  /** The same request with and without stream must be refused alike. */
  const bad = async (body, code, param, options) => {
    let error;
    for (const stream of [false, true]) {
      const answer = await server.chat(key, { ...hello, ...body, stream }, options);
      error = refused(answer, 400, code, param);
    }
    return error;
  };

  it('wants a key', async () => {
    for (const path of CHAT) {
      const error = refused(await server.call('POST', path, { body: hello }), 401, 'invalid_token');
      assert.match(error.message, /Authorization/);
    }
    for (const path of ['/v1/models', '/kimi/models', '/v1/users/me/balance']) {
      refused(await server.call('GET', path), 401, 'invalid_token');
    }
    const count = await server.call('POST', '/v1/tokenizers/estimate-token-count', { body: hello });
    refused(count, 401, 'invalid_token');
  });

  it('wants a key that it made', async () => {
    const wrong = [`${key}x`, key.slice(0, -1), key.toLowerCase(), 'sk-1', `mg-${'A'.repeat(43)}`];
    for (const token of wrong) refused(await server.chat(token, hello), 401, 'invalid_token');
    const lines = [
      'Bearer',
      'Bearer ',
      `Basic ${key}`,
      key,
      `Bearer ${key} ${key}`,
      `Bearer  x ${key}`,
    ];
    for (const authorization of lines) {
      const answer = await server.call('POST', CHAT[1], {
        body: hello,
        headers: { authorization },
      });
      refused(answer, 401, 'invalid_token');
    }
  });

  it('says the same of a bad body without a key: the key comes first', async () => {
    refused(await server.call('POST', CHAT[1], { body: '{' }), 401, 'invalid_token');
  });

  it('knows no other path', async () => {
    for (const path of [
      '/v2/chat/completions',
      '/v1',
      '/v1/chat',
      '/KIMI/models',
      '//v1/models',
      '/%76',
    ]) {
      refused(await server.call('GET', path, { key }), 404, 'no_api');
    }
  });

  it('names the methods of a path', async () => {
    for (const [method, path, allowed] of [
      ['GET', CHAT[0], 'POST'],
      ['DELETE', '/v1/models', 'GET'],
      ['POST', '/healthz', 'GET'],
      ['PUT', '/', 'GET'],
    ]) {
      const answer = await server.call(method, path, { key });
      refused(answer, 405, 'bad_request');
      assert.ok(answer.headers.allow.split(', ').includes(allowed), answer.headers.allow);
    }
  });

  it('answers a page of another origin that asks first', async () => {
    for (const path of [...CHAT, '/v1/models']) {
      const headers = { origin: 'https://example.org', 'access-control-request-method': 'POST' };
      assert.equal((await server.call('OPTIONS', path, { headers })).status, 204);
    }
  });

  it('answers HEAD like GET, and forgives one slash at the end', async () => {
    assert.equal((await server.call('HEAD', '/healthz')).status, 200);
    assert.equal((await server.call('GET', '/healthz/')).status, 200);
    assert.equal((await server.call('GET', '/v1/models/?a=b', { key })).status, 200);
  });

  it('does not know every model', async () => {
    const body = { ...hello, model: 'kimi-k9' };
    refused(await server.chat(key, body, { path: CHAT[0] }), 400, 'bad_request', 'model');
    refused(await server.chat(key, body, { path: CHAT[1] }), 404, 'model_not_found', 'model');
    refused(await server.chat(key, body, { path: CHAT[2] }), 404, 'model_not_found', 'model');
    await bad({ model: undefined }, 'bad_request', 'model');
    await bad({ model: 3 }, 'bad_request', 'model');
  });

  it('names the place of a mistake in the messages', async () => {
    const user = { role: 'user', content: 'x' };
    for (const [messages, param] of [
      [undefined, 'messages'],
      [[], 'messages'],
      [{}, 'messages'],
      ['hi', 'messages'],
      [[user, 3], 'messages[1]'],
      [[user, { role: 'robot', content: 'x' }], 'messages[1].role'],
      [[{ content: 'x' }], 'messages[0].role'],
      [[{ role: 'user' }], 'messages[0].content'],
      [[{ role: 'user', content: 7 }], 'messages[0].content'],
      [
        [user, { role: 'user', content: [{ type: 'text', text: 'a' }, {}] }],
        'messages[1].content[1].type',
      ],
      [[{ role: 'tool', content: 'x' }], 'messages[0].tool_call_id'],
      [[{ role: 'assistant', content: 'x', partial: true }, user], 'messages[0].partial'],
    ]) {
      await bad({ messages }, 'bad_request', param);
    }
  });

  it('refuses values out of range and of the wrong type', async () => {
    for (const [param, values] of Object.entries({
      temperature: [-0.1, 2.1, 'warm', true],
      top_p: [-0.1, 1.1, '1'],
      n: [0, 6, 1.5, '1'],
      max_tokens: [0, -1, 1.5, '9', 1e30],
      max_completion_tokens: [0, -5],
      presence_penalty: [-2.1, 2.1],
      frequency_penalty: [-3, {}],
      seed: ['x', 1.5, 1e300],
      stop: [1, { a: 1 }, ['1', '2', '3', '4', '5', '6'], 'x'.repeat(257)],
      logit_bias: [[], { a: 1 }, { 1: 101 }, { 1: 'x' }, { '-1': 1 }],
      logprobs: [1, 'true'],
      top_logprobs: [3],
      stream_options: [true],
      thinking: ['on', 1],
      reasoning_effort: [1],
      user: [1],
      store: ['no'],
    })) {
      for (const value of values) {
        const error = await bad({ [param]: value }, 'bad_request');
        assert.ok(error.param.startsWith(param), `${error.param} for ${param}`);
      }
    }
    await bad({ logprobs: true, top_logprobs: 21 }, 'bad_request', 'top_logprobs');
    refused(await server.chat(key, { ...hello, stream: 'yes' }), 400, 'bad_request', 'stream');
  });

  it('refuses mistakes in tools before it says that it has none', async () => {
    const tool = (name, more) => ({ type: 'function', function: { name, ...more } });
    for (const body of [
      { tools: {} },
      { tools: [tool('same'), tool('same')] },
      { tools: [tool('bad name')] },
      { tools: [tool('x'.repeat(65))] },
      { tools: [tool('')] },
      { tools: [{ type: 'other' }] },
      { tools: [tool('good', { parameters: 1 })] },
      { tools: [tool('good')], tool_choice: 'bogus' },
      { tools: [tool('good')], tool_choice: { type: 'function', function: { name: 'other' } } },
      { tool_choice: 'required' },
      { tools: [], tool_choice: 'required' },
      { tool_choice: { type: 'function', function: { name: 'x' } } },
      { response_format: { type: 'json_schema' } },
      { response_format: { type: 'json_schema', json_schema: { schema: {} } } },
      { response_format: { type: 'json_schema', json_schema: { name: 'x' } } },
      { response_format: { type: 'xml' } },
    ]) {
      await bad(body, 'bad_request');
    }
  });

  it('says by name what is not built', async () => {
    const tool = {
      type: 'function',
      function: { name: 'get_time', parameters: { type: 'object' } },
    };
    const search = { type: 'builtin_function', function: { name: '$web_search' } };
    for (const [body, param] of [
      [{ tools: [tool] }, 'tools'],
      [{ tools: [tool], tool_choice: 'required' }, 'tools'],
      [{ tools: [search] }, 'tools'],
      [{ response_format: { type: 'json_object' } }, 'response_format'],
      [
        { response_format: { type: 'json_schema', json_schema: { name: 'abc', schema: {} } } },
        'response_format',
      ],
      [{ modalities: ['text', 'audio'] }, 'modalities'],
      [{ audio: { voice: 'x', format: 'wav' } }, 'audio'],
      [{ functions: [{ name: 'x' }] }, 'functions'],
    ]) {
      await bad(body, 'api_not_implemented', param);
    }
    for (const type of ['image_url', 'video_url', 'file', 'input_audio']) {
      const messages = [{ role: 'user', content: [{ type, [type]: {} }] }];
      const error = await bad({ messages }, 'api_not_implemented', 'messages[0].content[0].type');
      assert.ok(error.message.includes(type));
    }
  });

  it('tells a balance in the shape of Moonshot', async () => {
    const balance = await server.call('GET', '/v1/users/me/balance', { key });
    assert.equal(balance.status, 200);
    assert.deepEqual(balance.json, {
      code: 0,
      data: { available_balance: 0, voucher_balance: 0, cash_balance: 0 },
      scode: '0x0',
      status: true,
    });
  });

  it('counts only tokens of what it could answer', async () => {
    const path = '/v1/tokenizers/estimate-token-count';
    for (const [body, param] of [
      [{ model: 'kimi-k2.5' }, 'messages'],
      [{ model: 'kimi-k2.5', messages: [] }, 'messages'],
      [{ messages: hello.messages }, 'model'],
    ]) {
      refused(await server.call('POST', path, { key, body }), 400, 'bad_request', param);
    }
    const unknown = { ...hello, model: 'kimi-k9' };
    refused(await server.call('POST', path, { key, body: unknown }), 404, 'model_not_found');
  });

  it('gives every answer a trace id of its own', async () => {
    const ids = new Set();
    for (let i = 0; i < 5; i++) {
      ids.add((await server.call('GET', '/healthz')).headers['x-trace-id']);
      ids.add((await server.call('GET', '/nowhere')).json.trace_id);
    }
    assert.equal(ids.size, 10);
  });
});

describe('errors of the strict profile', () => {
  const config = [
    'models:',
    '  - id: kimi-k2.5',
    '    like: kimi-k2.5',
    '    strict: true',
    '  - id: kimi-k2-0905-preview',
    '    like: kimi-k2-0905-preview',
    '    strict: true',
    '',
  ].join('\n');
  let server, key;
  before(async () => {
    server = await Server.start({ config });
    key = await server.key();
  });
  after(() => server.stop());

  const bad = async (body, param, pattern) => {
    for (const stream of [false, true]) {
      const answer = await server.chat(key, { ...hello, ...body, stream });
      assert.equal(answer.status, 400, answer.text);
      assert.equal(answer.json.error.type, 'invalid_request_error');
      assert.equal(answer.json.error.param, param);
      assert.match(answer.json.error.message, pattern);
    }
  };

  it('refuses sampling that a model does not take', async () => {
    const only = (value) => new RegExp(`only ${value} is allowed for this model`);
    await bad({ temperature: 0.3 }, 'temperature', only('1'));
    await bad({ temperature: 1, thinking: { type: 'disabled' } }, 'temperature', only('0\\.6'));
    await bad({ top_p: 1 }, 'top_p', only('0\\.95'));
    await bad({ n: 2 }, 'n', only('1'));
    await bad({ presence_penalty: 0.5 }, 'presence_penalty', only('0'));
    await bad({ frequency_penalty: 0.5 }, 'frequency_penalty', only('0'));
    await bad({ model: 'kimi-k2-0905-preview', temperature: 1.5 }, 'temperature', /0 to 1/);
  });

  it('refuses spellings of other servers', async () => {
    await bad({ thinking: true }, 'thinking', /expected type object/);
    const both = { thinking: { type: 'enabled' }, reasoning_effort: 'low' };
    await bad(both, 'reasoning_effort', /cannot specify both/);
    await bad({ stop: '' }, 'stop', /empty/);
  });

  it('refuses empty messages with their position', async () => {
    const user = { role: 'user', content: 'x' };
    const messages = [user, { role: 'assistant', content: '' }, user];
    await bad({ messages }, 'messages[1].content', /position 1 with role 'assistant'/);
    const lost = [user, { role: 'tool', tool_call_id: 'x', content: 'y' }];
    await bad({ messages: lost }, 'messages[1].tool_call_id', /is not found/);
  });

  it('takes what the model takes', async () => {
    const bodies = [
      { temperature: 1, top_p: 0.95, n: 1 },
      { temperature: 0.6, thinking: { type: 'disabled' } },
      { model: 'kimi-k2-0905-preview', temperature: 0.3, top_p: 0.7, n: 2 },
    ];
    for (const body of bodies) {
      const answer = await server.chat(key, { ...hello, max_tokens: 4, ...body });
      assert.equal(answer.status, 200, answer.text);
    }
  });
});
