// What a client is told when an upstream fails after the first byte of a reply: one error event,
// no [DONE], and no second try.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { textOf } from './lib/client.mjs';
import { begin, chunksOf, openaiError, reply } from './lib/dialects.mjs';
import { callLine, closeAll, configOf, relay } from './lib/gateway.mjs';
import { Server, hello } from './lib/server.mjs';
import { Upstream, within } from './lib/upstream.mjs';

const last = (finish) => chunksOf({ content: [], finish, usage: undefined })[1];

// [what happens after the text "Once", the script of it, the error's code]
const rows = [
  ['a reset', (request, wire) => wire.reset(), 'api_error'],
  ['a close in the middle of the body', (request, wire) => wire.close(), 'api_error'],
  [
    'a close in the middle of an event',
    async (request, wire) => {
      await wire.chunk('data: {"choices":[{"index":0,"del');
      wire.close();
    },
    'api_error',
  ],
  ['a clean end without a finish', (request, wire) => wire.end(), 'api_error'],
  [
    '[DONE] without a finish',
    async (request, wire) => {
      await wire.event('[DONE]');
      wire.end();
    },
    'api_error',
  ],
  [
    'a finish of "abort" and [DONE]',
    async (request, wire) => {
      await wire.event(last('abort'));
      await wire.event('[DONE]');
      wire.end();
    },
    'api_error',
  ],
  [
    'a finish of "error"',
    async (request, wire) => {
      await wire.event(last('error'));
      await wire.event('[DONE]');
      wire.end();
    },
    'api_error',
  ],
  [
    'a finish, and a reset',
    async (request, wire) => {
      await wire.event(last('stop'));
      wire.reset();
    },
    'api_error',
  ],
  [
    'an error object and [DONE]',
    async (request, wire) => {
      await wire.event(openaiError('CUDA out of memory at gpu7.internal', { code: 500 }));
      await wire.event('[DONE]');
      wire.end();
    },
    'api_error',
  ],
  [
    'an error object with an event name',
    async (request, wire) => {
      await wire.chunk('event: error\ndata: {"message":"gpu7.internal is lost"}\n\n');
      wire.end();
    },
    'api_error',
  ],
  [
    'an event that is no JSON',
    async (request, wire) => {
      await wire.event('{"choices":[{]}');
      return wire.stall();
    },
    'api_error',
  ],
  [
    'a page of HTML',
    async (request, wire) => {
      await wire.chunk('<html>gpu7.internal</html>');
      wire.end();
    },
    'api_error',
  ],
  [
    'an event without end',
    async (request, wire) => {
      await wire.chunk('data: {"choices":[{"index":0,"delta":{"content":"');
      for (let i = 0; wire.open && i < 4000; i++) await wire.chunk('z'.repeat(1 << 16));
    },
    'api_error',
  ],
  ['broken framing', (request, wire) => wire.raw('this is no chunk\r\n'), 'api_error'],
  ['silence', (request, wire) => wire.stall(), 'timeout'],
  [
    'comments for ever',
    async (request, wire) => {
      while (wire.open) {
        await wire.chunk(': ping\n\n');
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    'timeout',
  ],
];

describe('an upstream that fails after the first byte', () => {
  let server, key, upstream, other;
  before(async () => {
    upstream = await Upstream.start((request, wire) => {
      const row = Number(/^\/r(\d+)/.exec(request.path)[1]);
      return begin(rows[row][1])(request, wire);
    });
    other = await Upstream.start(reply());
    const backends = { other };
    for (const [i] of rows.entries()) {
      backends[`r${i}`] = {
        upstream,
        prefix: `/r${i}`,
        idle_timeout: '300ms',
        total_timeout: '1s',
        event_bytes: '1MiB',
      };
    }
    const models = rows.map((row, i) => ({
      id: `r${i}`,
      backends: [{ name: `r${i}` }, { name: 'other', priority: 2 }],
    }));
    server = await Server.start({ config: configOf({ backends, models, routing: { tries: 3 } }) });
    key = await server.key();
  });
  after(() => closeAll(server, upstream, other));

  for (const [i, [what, , code]] of rows.entries()) {
    it(`${what}: an event with ${code}`, async () => {
      const asked = upstream.requests.length;
      const answer = await server.chat(key, { ...hello, model: `r${i}`, stream: true });
      assert.equal(answer.status, 200);
      assert.equal(textOf({ ...answer, chunks: answer.chunks.filter((c) => c.choices) }), 'Once');
      assert.ok(!answer.events.includes('[DONE]'));
      const { error, choices } = answer.chunks.at(-1);
      assert.equal(choices, undefined);
      assert.equal(error.code, code);
      assert.ok(!/internal|<html/.test(answer.text), answer.text);
      assert.equal(upstream.requests.length, asked + 1, 'no second try');
      assert.equal(other.requests.length, 0, 'and none elsewhere');
      const line = await callLine(server, answer);
      assert.equal(line.end, code);
      assert.equal(line.backend, `r${i}`);
      assert.ok(line.completion_tokens > 0, 'what was given is counted');
      assert.equal(line.usage, 'estimated');
      const { wire, gone } = upstream.requests.at(-1);
      if (!wire.ended) await within(gone, 'the close');
    });
  }

  it('the limit of the call as a whole: an event with timeout', async () => {
    const stall = begin((request, wire) => wire.stall());
    const limits = { call_timeout: '500ms' };
    await relay(
      stall,
      async ({ server: hasty, key: other, upstream: slow }) => {
        const stream = await hasty.chat(other, { ...hello, stream: true });
        assert.equal(stream.chunks.at(-1).error.code, 'timeout');
        const whole = await hasty.chat(other, hello);
        assert.equal(whole.status, 504);
        assert.equal(slow.requests.length, 2, 'what took too long is not tried again');
        for (const { gone } of slow.requests) await within(gone, 'the close');
      },
      { limits },
    );
  });

  it('makes the openai package throw', async () => {
    const { default: OpenAI, APIError } = await import('openai');
    const client = new OpenAI({ baseURL: `${server.origin}/v1`, apiKey: key });
    const stream = await client.chat.completions.create({ ...hello, model: 'r0', stream: true });
    await assert.rejects(async () => {
      for await (const chunk of stream) assert.ok(chunk.choices.length > 0);
    }, APIError);
  });
});
