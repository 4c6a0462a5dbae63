// An upstream's answer in our contract: what is ours, what is passed on as it came, and how bytes
// may come apart on their way. lib/contract.mjs holds every answer seen here.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { finishOf, textOf } from './lib/client.mjs';
import { chunksOf, dialects, reply, wholeOf } from './lib/dialects.mjs';
import { closeAll, configOf, model } from './lib/gateway.mjs';
import { Server, hello } from './lib/server.mjs';
import { Upstream } from './lib/upstream.mjs';

const said = {
  reasoning: ['A greeting', ', so I greet.'],
  content: ['Hello', ' \u4f60\u597d', ' \ud83d\ude00!'],
  usage: { prompt: 11, completion: 9, cached: 4, reasoning: 5 },
};
const kimi = { path: '/kimi/chat/completions' };
const withUsage = { stream_options: { include_usage: true } };

/** A script that sends these bytes as the body of a stream. */
const body = (bytes) => async (request, wire) => {
  wire.head();
  await wire.chunk(bytes);
  wire.end();
};
const sse = (events) =>
  [...events, '[DONE]']
    .map((e) => `data: ${typeof e === 'string' ? e : JSON.stringify(e)}\n\n`)
    .join('');

describe('the relay', () => {
  let server, key, upstream;
  before(async () => {
    upstream = await Upstream.start(reply());
    server = await Server.start({ config: configOf({ backends: { up: { upstream } } }) });
    key = await server.key();
  });
  after(() => closeAll(server, upstream));

  const whole = async (script, more = {}, options) => {
    upstream.play(script);
    const answer = await server.chat(key, { ...hello, ...more }, options);
    assert.equal(answer.status, 200, answer.text);
    return answer;
  };
  const stream = async (script, more = {}, options) => {
    const answer = await whole(script, { stream: true, ...more }, options);
    assert.equal(answer.events.at(-1), '[DONE]', answer.text.slice(-600));
    return answer;
  };
  const usageOf = (answer) => answer.chunks.find((chunk) => chunk.choices.length === 0)?.usage;
  const says = (answer, wanted = said) => {
    assert.equal(textOf(answer), wanted.content.join(''));
    for (const field of ['reasoning', 'reasoning_content']) {
      assert.equal(textOf(answer, 0, field) ?? '', (wanted.reasoning ?? []).join(''), field);
    }
  };

  for (const dialect of dialects) {
    it(`reads what ${dialect} says, whole and as a stream`, async () => {
      const one = await whole(reply(said, dialect));
      says(one);
      const many = await stream(reply(said, dialect), withUsage);
      says(many);
      assert.equal(one.json.choices[0].finish_reason, 'stop');
      assert.equal(finishOf(many), 'stop');
      for (const usage of [one.json.usage, usageOf(many)]) {
        assert.equal(usage.prompt_tokens, 11);
        assert.equal(usage.completion_tokens, 9);
        assert.equal(usage.total_tokens, 20);
        const cached = dialect === 'llama' ? 0 : 4;
        assert.ok([cached, 4].includes(usage.cached_tokens), JSON.stringify(usage));
        assert.equal(usage.prompt_tokens_details.cached_tokens, usage.cached_tokens);
        const known = ['openai', 'sglang'].includes(dialect);
        if (known) assert.equal(usage.completion_tokens_details.reasoning_tokens, 5);
      }
    });
  }

  it('has an id, a date and a model of our own', async () => {
    const early = Math.floor(Date.now() / 1000);
    const one = await whole(reply(said));
    const many = await stream(reply(said));
    for (const object of [one.json, ...many.chunks]) {
      assert.match(object.id, /^chatcmpl-[0-9a-f]{16}$/);
      assert.equal(object.model, model);
      assert.ok(object.created >= early && object.created <= early + 60);
      assert.notEqual(object.system_fingerprint, 'fp_up');
    }
    assert.ok(!many.text.includes('of-the-upstream') && !many.text.includes('1700000000'));
    assert.ok(!one.text.includes('of-the-upstream'));
    assert.match(one.headers['x-trace-id'], /^[0-9a-f-]{36}$/);
  });

  it('shows usage when it is asked for, and always under /kimi', async () => {
    for (const dialect of dialects) {
      assert.equal(usageOf(await stream(reply(said, dialect))), undefined, dialect);
      assert.equal(usageOf(await stream(reply(said, dialect), {}, kimi)).prompt_tokens, 11);
    }
  });

  it('reads usage that stands inside a choice alone', async () => {
    const chunks = chunksOf(said, 'moonshot').filter((chunk) => chunk.choices.length > 0);
    const usage = usageOf(await stream(body(sse(chunks)), withUsage));
    assert.equal(usage.completion_tokens, 9);
    assert.equal(usage.cached_tokens, 4);
  });

  it('reads usage that runs along, and takes the last', async () => {
    const chunks = chunksOf({ ...said, usage: undefined }).map((chunk, i) => ({
      ...chunk,
      usage: { prompt_tokens: 11, completion_tokens: i, total_tokens: 11 + i },
    }));
    const answer = await stream(body(sse(chunks)), withUsage);
    assert.equal(usageOf(answer).completion_tokens, chunks.length - 1);
  });

  it('passes tool calls on in their order and with their indices', async () => {
    const name = (i) => ({ name: `tool_${i}`, arguments: '' });
    const tools = [
      ...[0, 1, 2].map((i) => [
        { index: i, id: `functions.tool_${i}:${i}`, type: 'function', function: name(i) },
      ]),
      [{ index: 1, function: { arguments: '{"b' } }],
      [{ index: 0, function: { arguments: '{"a":' } }],
      [
        { index: 2, function: { arguments: '{"\\u00e9":"\\n' } },
        { index: 1, function: { arguments: '":2}' } },
      ],
      [{ index: 0, function: { arguments: '1}' } }],
      [{ index: 2, function: { arguments: '"}' } }],
    ];
    const answer = await stream(reply({ content: [], tools, finish: 'tool_calls' }));
    const came = answer.chunks.flatMap((c) => c.choices).map((c) => c.delta.tool_calls);
    assert.deepEqual(came.filter(Boolean), tools);
    for (const delta of tools)
      assert.ok(answer.text.includes(JSON.stringify(delta)), 'byte by byte');
    assert.equal(finishOf(answer), 'tool_calls');
    const one = await whole(reply({ content: undefined, tools, finish: 'tool_calls' }));
    assert.deepEqual(
      one.json.choices[0].message,
      {
        ...wholeOf({ content: undefined, tools }).choices[0].message,
        ...one.json.choices[0].message,
      },
      'the message as it came, and more',
    );
    assert.equal(one.json.choices[0].message.tool_calls.length, 3);
    assert.equal(one.json.choices[0].message.content, null);
    assert.equal(one.json.choices[0].finish_reason, 'tool_calls');
  });

  it('leaves calls alone that all have the index 0', async () => {
    const tools = [0, 1, 2].map((i) => [
      { index: 0, id: `call_${i}`, type: 'function', function: { name: `t${i}`, arguments: '{}' } },
    ]);
    const answer = await stream(reply({ content: [], tools, finish: 'tool_calls' }));
    const came = answer.chunks.flatMap((c) => c.choices).map((c) => c.delta.tool_calls);
    assert.deepEqual(came.filter(Boolean), tools);
  });

  it('tells every reason to finish', async () => {
    for (const finish of ['stop', 'length', 'tool_calls', 'content_filter']) {
      assert.equal(finishOf(await stream(reply({ finish }))), finish);
      const one = await whole(reply({ finish }));
      assert.equal(one.json.choices[0].finish_reason, finish);
    }
  });

  it('takes the finish with the last text, and text after reasoning in one delta', async () => {
    const chunks = chunksOf({ usage: { prompt: 1, completion: 1 } });
    const last = structuredClone(chunks[2]);
    last.choices[0].finish_reason = 'stop';
    last.choices[0].delta = { reasoning: 'so', content: 'Done.' };
    const answer = await stream(body(sse([chunks[0], last])));
    says(answer, { reasoning: ['so'], content: ['Done.'] });
    assert.equal(finishOf(answer), 'stop');
  });

  it('needs no member that an upstream may leave out', async () => {
    const bare = [
      { choices: [{ delta: { content: 'Bare' } }] },
      { choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] },
    ];
    bare[0].choices[0].index = 0;
    says(await stream(body(sse(bare))), { content: ['Bare'] });
    const one = { choices: [{ index: 0, message: { content: 'Bare' }, finish_reason: 'stop' }] };
    const answer = await whole((request, wire) => wire.whole(200, one));
    says(answer, { content: ['Bare'] });
    assert.equal(answer.json.choices[0].message.role, 'assistant');
  });

  it('passes members on that it does not know', async () => {
    const own = { own_member: { of: ['the', 'upstream'] }, number: 12345678901234567890n };
    const text = (chunk) =>
      JSON.stringify({ ...chunk, own_member: own.own_member, number: 0 }).replace(
        '"number":0',
        `"number":${own.number}`,
      );
    const chunks = chunksOf(said, 'vllm').map(text);
    const answer = await stream(body(sse(chunks)));
    const shown = answer.chunks.filter((chunk) => chunk.own_member);
    assert.ok(shown.length >= 5);
    assert.deepEqual(shown[0].own_member, own.own_member);
    assert.ok(answer.text.includes(`"number":${own.number}`));
    assert.ok(
      shown.every((chunk) => 'stop_reason' in chunk.choices[0]),
      'also inside a choice',
    );
    const one = await whole(reply({ ...said, more: { own_member: own.own_member } }, 'sglang'));
    assert.deepEqual(one.json.own_member, own.own_member);
    assert.ok('matched_stop' in one.json.choices[0]);
  });

  it('passes several choices and log-probabilities on', async () => {
    const entry = (token) => ({
      token,
      logprob: -0.25,
      bytes: [...Buffer.from(token)],
      top_logprobs: [],
    });
    const chunks = chunksOf({ ...said, reasoning: undefined, n: 2 });
    for (const { choices } of chunks) {
      for (const c of choices) {
        if (c.delta.content) c.logprobs = { content: [entry(c.delta.content)], refusal: null };
      }
    }
    chunks.sort((a, b) => (b.choices.length > 0) - (a.choices.length > 0));
    const order = [0, 5, 6, 1, 2, 7, 3, 8, 4, 9, 10].map((i) => chunks[i]);
    const answer = await stream(body(sse(order)), { n: 2, logprobs: true, ...withUsage });
    for (const index of [0, 1]) {
      assert.equal(textOf(answer, index), said.content.join(''));
      assert.equal(finishOf(answer, index), 'stop');
      const entries = answer.chunks
        .flatMap((chunk) => chunk.choices)
        .filter((choice) => choice.index === index)
        .flatMap((choice) => choice.logprobs?.content ?? []);
      assert.deepEqual(entries, said.content.map(entry));
    }
    const one = await whole(reply({ ...said, n: 2 }), { n: 2 });
    assert.equal(one.json.choices.length, 2);
  });

  it('sends one role for each choice, before all else', async () => {
    const roles = async (script, more) =>
      (await stream(script, more)).chunks
        .flatMap((chunk) => chunk.choices)
        .filter((choice) => choice.delta.role)
        .map((choice) => choice.index);
    assert.deepEqual(await roles(reply(said)), [0]);
    assert.deepEqual(await roles(reply({ ...said, n: 2 }), { n: 2 }), [0, 1]);
  });

  it('passes text on while the upstream still writes', async () => {
    let go;
    const gate = new Promise((resolve) => (go = resolve));
    upstream.play(async (request, wire) => {
      const chunks = chunksOf(said);
      wire.head();
      for (const chunk of chunks.slice(0, 4)) await wire.event(chunk);
      await gate;
      for (const chunk of chunks.slice(4)) await wire.event(chunk);
      wire.event('[DONE]');
      wire.end();
    });
    const answer = await server.openChat(key, hello);
    await answer.until((a) => textOf(a) === 'Hello');
    go();
    says(await answer.end);
  });
});

describe('the bytes of a relayed stream', () => {
  let server, key, upstream;
  before(async () => {
    upstream = await Upstream.start(reply());
    server = await Server.start({ config: configOf({ backends: { up: { upstream } } }) });
    key = await server.key();
  });
  after(() => closeAll(server, upstream));

  const stream = async (script) => {
    upstream.play(script);
    const answer = await server.chat(key, { ...hello, stream: true, ...withUsage });
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.events.at(-1), '[DONE]', answer.text.slice(-600));
    return answer;
  };
  const same = (answer, wanted = said) => {
    assert.equal(textOf(answer), wanted.content.join(''));
    assert.equal(textOf(answer, 0, 'reasoning'), (wanted.reasoning ?? []).join(''));
    assert.equal(finishOf(answer), 'stop');
  };

  it('may come apart at every byte, also inside a character', async () => {
    const bytes = Buffer.from(sse(chunksOf(said, 'vllm')));
    const cut = async (request, wire) => {
      wire.head();
      for (const byte of bytes) await wire.chunk(Buffer.from([byte]));
      wire.end();
    };
    same(await stream(cut));
    const split = (at) => async (request, wire) => {
      wire.head();
      await wire.chunk(bytes.subarray(0, at));
      await new Promise((resolve) => setImmediate(resolve));
      await wire.chunk(bytes.subarray(at));
      wire.end();
    };
    const wide = bytes.indexOf(Buffer.from('\ud83d\ude00'));
    for (const at of [wide + 1, wide + 2, wide + 3, bytes.length - 1, 1])
      same(await stream(split(at)));
  });

  it('may come as one piece', async () => {
    same(await stream(body(sse(chunksOf(said)))));
  });

  it('may end lines in CRLF or CR, and have comments, events, ids and a mark', async () => {
    const text = sse(chunksOf(said));
    for (const bytes of [
      text.replaceAll('\n', '\r\n'),
      text.replaceAll('\n', '\r'),
      text.replaceAll('data: ', ': ping\n\n: more\ndata: '),
      text.replaceAll('data: ', 'event: message\nid: 7\nretry: 3000\ndata: '),
      text.replaceAll('data: ', 'data:'),
      `\ufeff${text}`,
      `\n\n\n${text.replaceAll('\n\n', '\n\n\n\n')}`,
      text.replaceAll('data: {', 'data: {\ndata: '),
    ]) {
      same(await stream(body(bytes)));
    }
  });

  it('may lack [DONE] where the finish and a clean end prove it', async () => {
    const text = sse(chunksOf(said)).replace('data: [DONE]\n\n', '');
    same(await stream(body(text)));
    same(await stream(body(text.trimEnd())));
    const closing = async (request, wire) => {
      wire.head(200, { 'content-length': Buffer.byteLength(text) });
      await wire.chunk(text);
    };
    same(await stream(closing));
  });

  it('may go on after [DONE], which nobody sees', async () => {
    const answer = await stream(
      body(`${sse(chunksOf(said))}data: {"choices":[]}\n\ndata: junk\n\n`),
    );
    same(answer);
  });

  it('may have lines of a megabyte', async () => {
    const long = { content: ['x'.repeat(1 << 20), 'y\u4f60'.repeat(1 << 18)] };
    same(await stream(reply(long)), long);
  });

  it('may have a thousand events at once', async () => {
    const many = { content: Array.from({ length: 1000 }, (_, i) => `${i} `) };
    const answer = await stream(body(sse(chunksOf(many))));
    same(answer, many);
    assert.ok(answer.chunks.length >= 1000);
  });

  it('may hold what is no character, which is replaced', async () => {
    const bytes = Buffer.from(sse(chunksOf({ content: ['a#b'] })));
    bytes[bytes.indexOf('#')] = 0xff;
    same(await stream(body(bytes)), { content: ['a\ufffdb'] });
  });

  it('may be a whole reply that comes apart', async () => {
    const bytes = Buffer.from(JSON.stringify(wholeOf(said), null, 2));
    for (const headers of [{ 'content-length': bytes.length }, {}]) {
      upstream.play(async (request, wire) => {
        wire.head(200, { 'content-type': 'application/json', ...headers });
        for (let i = 0; i < bytes.length; i += 7) await wire.chunk(bytes.subarray(i, i + 7));
        wire.end();
      });
      const answer = await server.chat(key, hello);
      assert.equal(textOf(answer), said.content.join(''));
      assert.equal(textOf(answer, 0, 'reasoning_content'), said.reasoning.join(''));
      assert.equal(answer.json.usage.completion_tokens, 9);
    }
  });

  it('may be a whole reply of megabytes', async () => {
    const long = { content: ['z\u4f60'.repeat(1 << 20)] };
    upstream.play(reply(long));
    const answer = await server.chat(key, hello);
    assert.equal(textOf(answer), long.content[0]);
  });
});
