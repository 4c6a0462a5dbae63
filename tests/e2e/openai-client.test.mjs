// The openai package as it comes, with another base URL. The answers that it sees pass the
// contract too: fetch is wrapped below it, and hands on what it gets.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import OpenAI, {
  APIError,
  APIUserAbortError,
  AuthenticationError,
  BadRequestError,
  NotFoundError,
  RateLimitError,
} from 'openai';
import { recordFetch } from './lib/fetch.mjs';
import { Server, endless, hello, until, withServer } from './lib/server.mjs';
import { alone } from './lib/stores.mjs';

describe('the openai package', () => {
  let server, key, fetches;
  before(async () => {
    fetches = recordFetch();
    server = await Server.start();
    key = await server.key();
  });
  after(async () => {
    await fetches.checked();
    await server.stop();
  });

  const client = (more = {}) =>
    new OpenAI({ baseURL: `${server.origin}/v1`, apiKey: key, ...more });
  const noneRuns = () =>
    until(async () => (await server.metric('moongate_calls_running')) === 0, 'no call runs');

  it('creates a reply', async () => {
    for (const base of ['/v1', '/kimi', '/openai']) {
      const openai = client({ baseURL: `${server.origin}${base}` });
      const reply = await openai.chat.completions.create({ ...hello, temperature: 0 });
      assert.equal(reply.object, 'chat.completion');
      assert.ok(reply.choices[0].message.content.length > 0);
      assert.equal(
        reply.usage.total_tokens,
        reply.usage.prompt_tokens + reply.usage.completion_tokens,
      );
      assert.match(reply._request_id, /^[0-9a-f-]{36}$/);
    }
  });

  it('streams a reply', async () => {
    const openai = client();
    const whole = await openai.chat.completions.create({ ...hello, temperature: 0 });
    const stream = await openai.chat.completions.create({ ...hello, temperature: 0, stream: true });
    let content = '',
      finish;
    for await (const chunk of stream) {
      content += chunk.choices[0].delta.content ?? '';
      finish = chunk.choices[0].finish_reason ?? finish;
    }
    assert.equal(content, whole.choices[0].message.content);
    assert.equal(finish, 'stop');
  });

  it('gathers a reply with its stream helper', async () => {
    const openai = client();
    const helper = openai.chat.completions.stream({
      ...hello,
      temperature: 0,
      stream_options: { include_usage: true },
    });
    const deltas = [];
    helper.on('content', (delta) => deltas.push(delta));
    const final = await helper.finalChatCompletion();
    assert.equal(final.choices[0].message.role, 'assistant');
    assert.equal(final.choices[0].message.content, deltas.join(''));
    assert.equal(final.choices[0].finish_reason, 'stop');
    assert.equal(final.usage.completion_tokens > 0, true);
    const whole = await openai.chat.completions.create({ ...hello, temperature: 0 });
    assert.equal(final.choices[0].message.content, whole.choices[0].message.content);
  });

  it('gathers several choices', async () => {
    const helper = client().chat.completions.stream(endless(5, { n: 3 }));
    const final = await helper.finalChatCompletion();
    assert.equal(final.choices.length, 3);
    for (const choice of final.choices) assert.equal(choice.finish_reason, 'length');
  });

  it('throws its typed exceptions, and tries nothing twice that cannot help', async () => {
    const count = (status) =>
      server.metric(`moongate_requests_total{route="chat",code="${status}"}`);
    const cases = [
      [401, AuthenticationError, { apiKey: 'mg-wrong' }, hello, 'invalid_token'],
      [404, NotFoundError, {}, { ...hello, model: 'kimi-k9' }, 'model_not_found'],
      [400, BadRequestError, {}, { ...hello, temperature: 3 }, 'bad_request'],
      [400, BadRequestError, {}, { ...hello, messages: [], stream: true }, 'bad_request'],
    ];
    for (const [status, type, options, body, code] of cases) {
      const earlier = await count(status);
      const openai = client({ maxRetries: 3, ...options });
      await assert.rejects(openai.chat.completions.create(body), (error) => {
        assert.ok(error instanceof type, String(error));
        assert.equal(error.status, status);
        assert.equal(error.code, code);
        assert.ok(error.message.length > 10);
        assert.match(error.requestID, /^[0-9a-f-]{36}$/);
        return true;
      });
      await until(async () => (await count(status)) > earlier, 'the request to be counted');
      assert.equal(await count(status), earlier + 1);
    }
  });

  it('stops the work when it is aborted', async () => {
    const openai = client();
    const controller = new AbortController();
    const stream = await openai.chat.completions.create(
      { ...endless(1900, { n: 5 }), stream: true },
      { signal: controller.signal },
    );
    await assert.rejects(async () => {
      for await (const chunk of stream) if (chunk.choices[0].delta.content) controller.abort();
      throw new APIUserAbortError(); // some versions end the loop instead of throwing
    }, APIUserAbortError);
    await noneRuns();
    await server.untilMetric('moongate_engine_sequences_running', (n) => n === 0);
    const whole = new AbortController();
    const pending = openai.chat.completions.create(endless(1900, { n: 5 }), {
      signal: whole.signal,
    });
    await server.untilMetric('moongate_calls_running', (n) => n === 1);
    whole.abort();
    await assert.rejects(pending, APIUserAbortError);
    await noneRuns();
  });

  it('stops the work when its loop is left', async () => {
    const stream = await client().chat.completions.create({
      ...endless(1900, { n: 5 }),
      stream: true,
    });
    for await (const chunk of stream) if (chunk.choices[0].delta.content) break;
    await noneRuns();
  });

  it('lists the models', async () => {
    const ids = [];
    for await (const model of client().models.list()) ids.push(model.id);
    assert.ok(ids.includes('kimi-k2.5'));
    await assert.rejects(client({ apiKey: 'x' }).models.list(), AuthenticationError);
  });
});

describe('the openai package against a server in trouble', () => {
  it('throws when a stream fails half-way', async () => {
    await withServer({ set: { 'limits.call_timeout': '300ms' } }, async (server) => {
      const openai = new OpenAI({ baseURL: `${server.origin}/v1`, apiKey: await server.key() });
      const stream = await openai.chat.completions.create({
        ...endless(1900, { n: 5 }),
        stream: true,
      });
      let chunks = 0;
      await assert.rejects(
        async () => {
          for await (const chunk of stream) chunks += chunk.choices.length;
        },
        (error) => {
          assert.ok(error instanceof APIError, String(error));
          assert.match(error.message, /longer/);
          return true;
        },
      );
      assert.ok(chunks > 0);
    });
  });

  it('waits and tries again when the engine is full', alone, async () => {
    await withServer({ set: { 'engine.sequences': 1, 'engine.queue': 1 } }, async (server, key) => {
      const openai = new OpenAI({ baseURL: `${server.origin}/v1`, apiKey: key });
      const busy = await server.openChat(key, endless(1900));
      await busy.until((a) => a.chunks.length > 1);
      const waiting = server.chat(key, endless(3));
      await server.untilMetric('moongate_engine_jobs_waiting', (n) => n === 1);
      await assert.rejects(openai.chat.completions.create(hello, { maxRetries: 0 }), (error) => {
        assert.ok(error instanceof RateLimitError, String(error));
        assert.ok(Number(error.headers.get('retry-after')) >= 1);
        return true;
      });
      const patient = openai.chat.completions.create(endless(3), { maxRetries: 50 });
      await busy.abort();
      assert.equal((await waiting).status, 200);
      assert.equal((await patient).usage.completion_tokens, 3);
    });
  });
});
