// What a client is told when an upstream fails before the first byte of a reply. Each row is a
// backend of its own, so that none suffers from the health of another.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { begin, chunksOf, openaiError, refuse, reply, wholeOf } from './lib/dialects.mjs';
import { callLine, closeAll, configOf, logLines } from './lib/gateway.mjs';
import { Server, hello } from './lib/server.mjs';
import { Upstream, deadPort } from './lib/upstream.mjs';

const secret = 'sk-upstream-9f8e7d6c5b4a39281706';
const text = 'messages[0] is too odd for this model';
const filtered = openaiError('The request was rejected because it was considered high risk', {
  type: 'content_filter',
  code: 'content_filter',
});
const page = '<html><body><h1>502 Bad Gateway</h1>nginx/1.22 at upstream.internal</body></html>';

/** Sends bytes as the whole of a connection, whatever they are. */
const bytes = (data) => async (request, wire) => {
  await wire.raw(data);
  wire.close();
};
const asJson =
  (data, headers = {}) =>
  (request, wire) =>
    wire.whole(200, data, headers);
const events =
  (...list) =>
  async (request, wire) => {
    wire.head();
    for (const event of list) await wire.event(event);
    wire.end();
  };
const endlessHead = async (request, wire) => {
  await wire.raw('HTTP/1.1 200 OK\r\n');
  for (let i = 0; wire.open && i < 4000; i++) await wire.raw(`x-${i}: ${'y'.repeat(1000)}\r\n`);
};
const endlessBody = async (request, wire) => {
  wire.head(200, { 'content-type': 'application/json' });
  await wire.chunk('{"choices":[{"index":0,"message":{"content":"');
  for (let i = 0; wire.open && i < 4000; i++) await wire.chunk('z'.repeat(1 << 16));
};
const endlessEvent = async (request, wire) => {
  wire.head();
  await wire.chunk('data: {"choices":[{"index":0,"delta":{"content":"');
  for (let i = 0; wire.open && i < 4000; i++) await wire.chunk('z'.repeat(1 << 16));
};

const bad = { status: 502, code: 'api_error', retry: true };
const late = { status: 504, code: 'timeout', retry: false };
const mine = { status: 400, code: 'bad_request', retry: false };
const full = { status: 429, code: 'too_many_requests', retry: true };
const away = { status: 503, code: 'api_error', retry: true };

// [what happens, script, what the client is told, `whole` or `stream` if it is one of them]
const rows = [
  ['a 400 in the form of OpenAI', refuse(400, openaiError(text)), { ...mine, message: text }],
  ['a 400 with a detail', refuse(400, { detail: text }), { ...mine, message: text }],
  ['a 400 with an error that is a text', refuse(400, { error: text }), { ...mine, message: text }],
  [
    'a 400 in the form of vLLM',
    refuse(400, { object: 'error', message: text, type: 'BadRequestError', code: 400 }),
    { ...mine, message: text },
  ],
  ['a 400 with a bare body', refuse(400, 'no'), mine],
  ['a 400 with no body', refuse(400, ''), mine],
  ['a 422', refuse(422, { detail: [{ loc: ['body'], msg: text }] }), mine],
  ['a 400 that filters content', refuse(400, filtered), { status: 403, code: 'forbidden' }],
  ['a 401', refuse(401, openaiError('Incorrect API key')), bad],
  ['a 403', refuse(403, openaiError('This key may not')), bad],
  ['a 404', refuse(404, openaiError('The model does not exist')), bad],
  ['a 405', refuse(405, 'Method Not Allowed'), bad],
  ['a 302', refuse(302, '', { location: 'http://127.0.0.1:1/else' }), bad],
  ['a 413', refuse(413, openaiError('too large')), { status: 413, code: 'bad_request' }],
  ['a 408', refuse(408, openaiError('too slow')), late],
  ['a 429 with Retry-After', refuse(429, {}, { 'retry-after': '7' }), { ...full, after: 7 }],
  ['a 429 without Retry-After', refuse(429, openaiError('slow down')), full],
  ['a 429 with nonsense in Retry-After', refuse(429, {}, { 'retry-after': '-x' }), full],
  ['a 500 with a JSON body', refuse(500, openaiError('boom at upstream.internal')), bad],
  ['a 500 with a page', refuse(500, page), bad],
  ['a 502 with a page', refuse(502, page), bad],
  ['a 503 with Retry-After', refuse(503, page, { 'retry-after': '9' }), { ...away, after: 9 }],
  ['a 503 without Retry-After', refuse(503, 'down'), away],
  ['a 504', refuse(504, page), late],
  ['a 520', refuse(520, page), bad],
  ['a 524', refuse(524, page), late],
  ['a 529', refuse(529, openaiError('overloaded')), away],
  ['a page with 200', refuse(200, page), bad],
  ['no HTTP at all', bytes('SSH-2.0-OpenSSH_9.2\r\n'), bad],
  ['bytes of noise', bytes(Buffer.from([0x16, 3, 1, 0, 0, 0xff, 0xfe, 10, 13, 10])), bad],
  ['a close before the head', (request, wire) => wire.close(), bad],
  ['a reset before the head', (request, wire) => wire.reset(), bad],
  ['half a head', bytes('HTTP/1.1 200 OK\r\ncontent-ty'), bad],
  [
    'a reset after the head',
    async (request, wire) => {
      await wire.head();
      wire.reset();
    },
    bad,
  ],
  ['a head without end', endlessHead, bad],
  [
    'a body of the wrong framing',
    bytes('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n'),
    bad,
  ],
  ['an error with 200', asJson(openaiError('all is lost')), bad],
  [
    'an error with 200 that names a status',
    asJson(openaiError(text, { code: 400 })),
    { ...mine, message: text },
  ],
  ['an empty body with 200', asJson(''), bad],
  ['null with 200', asJson('null'), bad],
  ['a body that is no JSON', asJson('{"choices": [{]'), bad, 'whole'],
  ['a reply without choices', asJson({ id: 'x', object: 'chat.completion' }), bad, 'whole'],
  ['a reply with no choice', asJson({ ...wholeOf(), choices: [] }), bad, 'whole'],
  ['half a reply', asJson(JSON.stringify(wholeOf()).slice(0, 90)), bad, 'whole'],
  [
    'a reply that breaks off',
    bytes('HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{"choices":['),
    bad,
    'whole',
  ],
  ['a reply without end', endlessBody, bad, 'whole'],
  ['a reply that was given up', reply({ finish: 'abort' }), bad, 'whole'],
  ['a stream without events', events(), bad, 'stream'],
  ['a stream of [DONE] alone', events('[DONE]'), bad, 'stream'],
  ['an event that is no JSON', events('{"choices": nothing}'), bad, 'stream'],
  ['an event without end', endlessEvent, bad, 'stream'],
  ['an error as the first event', events(openaiError('all is lost')), bad, 'stream'],
  [
    'an error after the role',
    events(chunksOf()[0], openaiError(text, { code: 400 })),
    { ...mine, message: text },
    'stream',
  ],
  ['a stream that ends after the role', events(chunksOf()[0]), bad, 'stream'],
  ['no byte at all', (request, wire) => wire.stall(), late],
  [
    'a head and no byte more',
    (request, wire) => {
      wire.head();
      return wire.stall();
    },
    late,
  ],
];

describe('an upstream that fails before the first byte', () => {
  let server, key, upstream;
  before(async () => {
    process.env.E2E_UPSTREAM_KEY = secret;
    upstream = await Upstream.start((request, wire) => {
      const row = Number(/^\/r(\d+)/.exec(request.path)[1]);
      return rows[row][1](request, wire);
    });
    const backends = {};
    for (const [i] of rows.entries()) {
      for (const mode of ['whole', 'stream']) {
        backends[`r${i}-${mode}`] = {
          upstream,
          prefix: `/r${i}/${mode}`,
          key_env: 'E2E_UPSTREAM_KEY',
          first_byte_timeout: '300ms',
          idle_timeout: '300ms',
          total_timeout: '2s',
          head_bytes: '64KiB',
          event_bytes: '1MiB',
          reply_bytes: '1MiB',
        };
      }
    }
    const models = Object.keys(backends).map((name) => ({ id: name, backends: [{ name }] }));
    server = await Server.start({ config: configOf({ backends, models, routing: { tries: 1 } }) });
    key = await server.key();
  });
  after(async () => {
    await closeAll(server, upstream);
    assert.ok(!server.log.includes(secret) && !server.log.includes(key));
  });

  const fails = async (i, mode, wanted) => {
    const asked = upstream.requests.length;
    const model = `r${i}-${mode}`;
    const answer = await server.chat(key, { ...hello, model, stream: mode === 'stream' });
    assert.equal(answer.status, wanted.status, answer.text);
    const { error } = answer.json;
    assert.equal(error.code, wanted.code);
    if (wanted.message) assert.ok(error.message.includes(wanted.message), error.message);
    assert.ok(!/upstream\.internal|<html|127\.0\.0\.1|nginx|sk-/.test(answer.text), answer.text);
    if (wanted.retry !== undefined) {
      assert.equal(answer.headers['x-should-retry'], String(wanted.retry));
    }
    const after = answer.headers['retry-after'];
    if (wanted.after) assert.equal(Number(after), wanted.after);
    else if ([429, 503].includes(wanted.status)) assert.ok(Number(after) >= 1, `after ${after}`);
    assert.equal(upstream.requests.length, asked + 1, 'one try');
    const line = await callLine(server, answer);
    assert.equal(line.status, wanted.status);
    assert.equal(line.end, wanted.code);
    assert.equal(line.model, model);
  };

  for (const [i, [what, , wanted, only]] of rows.entries()) {
    it(`${what}: ${wanted.status} ${wanted.code}`, async () => {
      for (const mode of only ? [only] : ['whole', 'stream']) await fails(i, mode, wanted);
    });
  }

  it('is told of in the log, with the reason and the trace id', async () => {
    const i = rows.findIndex(([what]) => what === 'a reset before the head');
    const answer = await server.chat(key, { ...hello, model: `r${i}-whole` });
    const lines = logLines(server).filter((l) => l.text?.includes(answer.headers['x-trace-id']));
    assert.ok(
      lines.some((l) => l.text.startsWith(`r${i}-whole: failed`)),
      server.log.slice(-800),
    );
  });
});

describe('an upstream that cannot be reached', () => {
  let server, key, plain, noisy;
  before(async () => {
    plain = await Upstream.start(reply());
    noisy = await Upstream.start(reply());
    noisy.server.prependListener('connection', (socket) => socket.end('HTTP/1.0 400 No\r\n\r\n'));
    const port = await deadPort();
    const quick = { connect_timeout: '500ms' };
    const backends = {
      refused: { url: `http://127.0.0.1:${port}`, ...quick },
      nameless: { url: 'http://no-such-host.invalid', ...quick },
      'plain-text': { url: noisy.url.replace('http:', 'https:'), ...quick },
      'no-tls': { url: plain.url.replace('http:', 'https:'), ...quick },
      proxyless: { url: 'http://127.0.0.1:9', proxy: `http://127.0.0.1:${port}`, ...quick },
    };
    const models = Object.keys(backends).map((name) => ({ id: name, backends: [{ name }] }));
    server = await Server.start({ config: configOf({ backends, models }) });
    key = await server.key();
  });
  after(() => closeAll(server, plain, noisy));

  for (const [model, what] of [
    ['refused', 'refuses connections'],
    ['nameless', 'has no name'],
    ['plain-text', 'answers TLS in plain text'],
    ['proxyless', 'is behind a proxy that is down'],
  ]) {
    it(`because it ${what}: 502`, async () => {
      for (const stream of [false, true]) {
        const answer = await server.chat(key, { ...hello, model, stream });
        assert.equal(answer.status, 502, answer.text);
        assert.equal(answer.json.error.code, 'api_error');
        assert.ok(!/127\.0\.0\.1|no-such-host/.test(answer.text), answer.text);
      }
    });
  }

  it('because the handshake of TLS gets no answer: 504', async () => {
    const answer = await server.chat(key, { ...hello, model: 'no-tls' });
    assert.equal(answer.status, 504, answer.text);
    assert.equal(answer.json.error.code, 'timeout');
  });
});

describe('an upstream that tells what it was sent', () => {
  it('shows its key to nobody', async () => {
    process.env.E2E_UPSTREAM_KEY = secret;
    const echo = (status) => (request, wire) =>
      wire.whole(status, openaiError(`Bad call with ${request.headers.authorization}, sorry`));
    const inStream = begin(async (request, wire) => {
      await wire.event(openaiError(`Lost ${request.headers.authorization}`, { code: 400 }));
      wire.end();
    });
    const upstream = await Upstream.start([echo(400), echo(401), echo(500), inStream]);
    const backends = { up: { upstream, key_env: 'E2E_UPSTREAM_KEY' } };
    const server = await Server.start({
      config: configOf({
        backends,
        routing: { tries: 1 },
        log: { format: 'json', level: 'debug' },
      }),
    });
    try {
      const key = await server.key();
      for (const [status, stream] of [
        [400, false],
        [502, true],
        [502, false],
        [200, true],
      ]) {
        const answer = await server.chat(key, { ...hello, stream });
        assert.equal(answer.status, status, answer.text);
        assert.ok(!answer.text.includes(secret), answer.text);
        assert.ok(!answer.text.includes('9f8e7d6c5b4a'), answer.text);
      }
      await server.stop();
      assert.ok(!server.log.includes(secret), server.log);
    } finally {
      await server.kill();
      await upstream.close();
    }
  });
});
