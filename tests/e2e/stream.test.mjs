// Replies as streams. The framing itself is held by lib/contract.mjs for every stream seen.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { finishOf, textOf } from './lib/client.mjs';
import { Server, endless, hello, until, withServer } from './lib/server.mjs';
import { alone } from './lib/stores.mjs';

const repeatable = { ...hello, temperature: 0 };

describe('stream', () => {
  let server, key;
  before(async () => {
    server = await Server.start();
    key = await server.key();
  });
  after(() => server.stop());

  const stream = async (body, options) => {
    const answer = await server.chat(key, { ...body, stream: true }, options);
    assert.equal(answer.status, 200, answer.text);
    assert.match(answer.headers['content-type'], /^text\/event-stream/);
    assert.equal(answer.events.at(-1), '[DONE]');
    return answer;
  };
  const usageChunks = (answer) => answer.chunks.filter((chunk) => chunk.choices.length === 0);

  it('has the text of the whole reply', async () => {
    const whole = await server.chat(key, repeatable);
    const streamed = await stream(repeatable);
    assert.equal(textOf(streamed), textOf(whole));
    assert.equal(
      textOf(streamed, 0, 'reasoning_content'),
      textOf(whole, 0, 'reasoning_content') ?? '',
    );
    assert.equal(finishOf(streamed), whole.json.choices[0].finish_reason);
  });

  it('ends with usage under /kimi, elsewhere when it is asked for', async () => {
    const kimi = await stream(repeatable, { path: '/kimi/chat/completions' });
    assert.equal(usageChunks(kimi).length, 1);
    for (const path of ['/v1/chat/completions', '/openai/chat/completions']) {
      assert.equal(usageChunks(await stream(repeatable, { path })).length, 0);
      const asked = await stream(
        { ...repeatable, stream_options: { include_usage: true } },
        { path },
      );
      assert.equal(usageChunks(asked).length, 1);
      const { usage } = usageChunks(asked)[0];
      const whole = await server.chat(key, repeatable);
      assert.equal(usage.prompt_tokens, whole.json.usage.prompt_tokens);
      assert.equal(usage.completion_tokens, whole.json.usage.completion_tokens);
    }
  });

  it('tells the finish of every choice', async () => {
    const answer = await stream(endless(6, { n: 3, stream_options: { include_usage: true } }));
    for (const index of [0, 1, 2]) {
      assert.equal(finishOf(answer, index), 'length');
      assert.equal(textOf(answer, index), textOf(answer, 0));
    }
    assert.equal(usageChunks(answer)[0].usage.completion_tokens, 18);
  });

  it('sends text while it is written', async () => {
    const answer = await server.openChat(key, endless(1500));
    await answer.until((a) => textOf(a).length > 0);
    assert.equal(answer.complete, undefined, 'the first text came before the end');
    await answer.end;
    assert.equal(finishOf(answer), 'length');
  });

  it('never splits a character', async () => {
    const body = {
      ...hello,
      temperature: 2,
      top_p: 1,
      seed: 5,
      max_tokens: 200,
      thinking: { type: 'disabled' },
      messages: [{ role: 'user', content: '你好,你是谁?請用繁體中文回答。' }],
    };
    const whole = await server.chat(key, body);
    const streamed = await stream(body);
    assert.equal(textOf(streamed), textOf(whole));
  });

  it('sends log-probabilities with the text they belong to', async () => {
    const answer = await stream({
      ...repeatable,
      thinking: { type: 'disabled' },
      logprobs: true,
      top_logprobs: 2,
    });
    const entries = answer.chunks
      .flatMap((chunk) => chunk.choices)
      .flatMap((choice) => choice.logprobs?.content ?? []);
    const bytes = Buffer.from(entries.flatMap((entry) => entry.bytes));
    assert.equal(bytes.toString('utf8'), textOf(answer));
    for (const entry of entries) assert.equal(entry.top_logprobs.length, 2);
  });

  it('reports a fault found before the first byte as a plain answer', async () => {
    for (const more of [{ messages: [] }, { temperature: 9 }, { tool_choice: 'required' }]) {
      const answer = await server.chat(key, { ...hello, ...more, stream: true });
      assert.equal(answer.status, 400);
      assert.match(answer.headers['content-type'], /^application\/json/);
    }
    const refused = await server.chat('mg-wrong', { ...hello, stream: true });
    assert.equal(refused.status, 401);
  });

  it('answers an HTTP/1.0 client, ended by closing', async () => {
    const { Raw } = await import('./lib/raw.mjs');
    const { checkAnswer } = await import('./lib/contract.mjs');
    const raw = await Raw.connect(server.port);
    const body = JSON.stringify({ ...repeatable, stream: true });
    await raw.send(
      `POST /v1/chat/completions HTTP/1.0\r\nHost: x\r\nAuthorization: Bearer ${key}\r\n` +
        `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    );
    await raw.untilClosed();
    const text = raw.bytes.toString('utf8');
    const end = text.indexOf('\r\n\r\n');
    const [, ...lines] = text.slice(0, end).split('\r\n');
    const headers = Object.fromEntries(
      lines.map((line) => [
        line.split(':')[0].toLowerCase(),
        line.slice(line.indexOf(':') + 1).trim(),
      ]),
    );
    assert.equal(headers['transfer-encoding'], undefined);
    const path = '/v1/chat/completions';
    checkAnswer({ method: 'POST', path, status: 200, headers, body: text.slice(end + 4) });
  });
});

describe('silent and broken streams', () => {
  it('keeps a stream that waits for its turn alive with comments', alone, async () => {
    const set = { 'engine.sequences': 1, 'limits.keep_alive': '100ms' };
    await withServer({ set }, async (server, key) => {
      const first = await server.openChat(key, endless(1900));
      await first.until((a) => textOf(a).length > 0);
      const second = await server.openChat(key, endless(4));
      assert.equal(second.status, 200);
      await second.end;
      await first.end;
      assert.match(second.text, /^: /, 'the head and a comment came before the first chunk');
      assert.equal(finishOf(second), 'length');
    });
  });

  it('ends a stream that takes too long with an error event and no [DONE]', async () => {
    await withServer({ set: { 'limits.call_timeout': '300ms' } }, async (server, key) => {
      const answer = await server.chat(key, endless(1900, { n: 5, stream: true }));
      assert.equal(answer.status, 200);
      const last = JSON.parse(answer.events.at(-1));
      assert.equal(last.error.code, 'timeout');
      assert.ok(!('choices' in last));
      const whole = await server.chat(key, endless(1900, { n: 5 }));
      assert.equal(whole.status, 504, 'the same without a stream is a status');
      await until(
        async () => (await server.metric('moongate_calls_running')) === 0,
        'no call runs',
      );
    });
  });
});
