// Requests that no honest client sends: nothing crashes, leaks, or keeps the others waiting.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { textOf } from './lib/client.mjs';
import { Raw, head } from './lib/raw.mjs';
import { Server, endless, hello, withServer } from './lib/server.mjs';
import { alone } from './lib/stores.mjs';

const CHAT = '/v1/chat/completions';
const MIB = 1024 * 1024;

function refused(answer, status, code = 'bad_request') {
  const body = answer.json ?? JSON.parse(answer.body);
  assert.equal(answer.status, status, JSON.stringify(body));
  assert.equal(body.error.code, code);
  return body.error.message;
}

describe('bad bodies', () => {
  let server, key;
  before(async () => {
    server = await Server.start();
    key = await server.key();
  });
  after(() => server.stop());
  afterEach(async () => {
    assert.equal((await server.chat(key, endless(2))).status, 200, 'the server still answers');
  });

  const post = (body, options) => server.call('POST', CHAT, { key, body, ...options });
  const withContent = (content) =>
    `{"model":"kimi-k2.5","messages":[{"role":"user","content":"${content}"}]}`;

  it('refuses what is no JSON and names the byte', async () => {
    for (const body of [
      '',
      ' ',
      '{',
      '[1,]',
      'null',
      '"text"',
      '{"model":"kimi-k2.5",}',
      "{'model':'kimi-k2.5'}",
      '{"model":"kimi-k2.5"} x',
      '{"model":"kimi-k2.5"}{"model":"kimi-k2.5"}',
      '{"model":"kimi-k2.5" /* comment */}',
      '{"n":NaN}',
      '{"n":Infinity}',
      '{"n":1e999}',
      '{"n":01}',
      '{"n":+1}',
      '{"n":.5}',
      '\ufeff{"model":"kimi-k2.5"}',
      '\0',
    ]) {
      refused(await post(body), 400);
    }
    assert.match(refused(await post('{"model":"kimi-k2.5",}'), 400), /\d/);
  });

  it('refuses duplicate keys', async () => {
    const body =
      '{"model":"kimi-k2.5","model":"kimi-k3","messages":[{"role":"user","content":"x"}]}';
    assert.match(refused(await post(body), 400), /model/);
    refused(await post('{"model":"kimi-k2.5","messages":[{"role":"user","role":"tool"}]}'), 400);
  });

  it('refuses text that is no UTF-8, and escapes that are no characters', async () => {
    const parts = [
      [0xff],
      [0xc0, 0xaf],
      [0xed, 0xa0, 0x80],
      [0xf5, 0x80, 0x80, 0x80],
      [0xe4, 0xbd],
      [0x80],
    ];
    for (const bytes of parts) {
      const [a, b] = withContent('@').split('@');
      refused(await post(Buffer.concat([Buffer.from(a), Buffer.from(bytes), Buffer.from(b)])), 400);
    }
    for (const escape of [
      '\\ud800',
      '\\udc00\\ud800',
      '\\u0000',
      '\\x41',
      '\\u12',
      '\n',
      '\t',
      '\x01',
    ]) {
      refused(await post(withContent(escape)), 400);
    }
    const good = await post(withContent('\\ud83d\\ude00 \\u4f60'));
    assert.equal(good.status, 200);
  });

  it('refuses deep nesting, of any kind and anywhere', async () => {
    for (const [open, close] of [
      ['[', ']'],
      ['{"a":', '}'],
    ]) {
      for (const depth of [100, 100_000]) {
        const middle = open === '[' ? '' : '1';
        const deep = open.repeat(depth) + middle + close.repeat(depth);
        refused(await post(deep), 400);
        refused(await post(`{"model":"kimi-k2.5","messages":[],"metadata":${deep}}`), 400);
        refused(await post(open.repeat(depth)), 400);
      }
    }
  });

  it('refuses a prompt that is longer than the context, with the numbers', async () => {
    const models = await server.call('GET', '/v1/models', { key });
    const context = models.json.data.find((model) => model.id === 'kimi-k2.5').context_length;
    for (const content of [
      'word '.repeat(6000),
      '你'.repeat(9000),
      'x'.repeat(3 * MIB),
      ' '.repeat(MIB),
    ]) {
      for (const stream of [false, true]) {
        const answer = await post({
          model: 'kimi-k2.5',
          messages: [{ role: 'user', content }],
          stream,
        });
        if (content.trim() === '' && answer.status === 200) continue; // blanks may be few tokens
        const message = refused(answer, 400);
        const numbers = message.match(/\d+/g).map(Number);
        assert.ok(numbers.includes(context), message);
        assert.ok(
          numbers.some((n) => n > context),
          message,
        );
      }
    }
  });

  it('refuses bodies past the limit, before it reads them', async () => {
    const raw = await Raw.connect(server.port);
    await raw.send(head(CHAT, key, [`Content-Length: ${64 * MIB}`]));
    const answer = await raw.answer({ method: 'POST', path: CHAT });
    assert.match(refused(answer, 413), /4194304/);
    raw.destroy();
    const waiting = await Raw.connect(server.port);
    await waiting.send(head(CHAT, key, [`Content-Length: ${64 * MIB}`, 'Expect: 100-continue']));
    refused(await waiting.answer({ method: 'POST', path: CHAT }), 413);
    waiting.destroy();
  });

  it('refuses a body past the limit that comes in pieces, and one sent at once', async () => {
    const headers = { 'transfer-encoding': 'chunked' };
    refused(await post(Buffer.alloc(4.5 * MIB, 0x20), { headers }), 413);
    refused(await post(Buffer.alloc(6 * MIB, 0x20), { headers }), 413);
    const raw = await Raw.connect(server.port);
    await raw.send(head(CHAT, key, [`Content-Length: ${64 * MIB}`]));
    raw.send(Buffer.alloc(64 * MIB, 0x20)).catch(() => {}); // the server may close before its end
    refused(await raw.answer({ method: 'POST', path: CHAT }), 413);
    raw.destroy();
  });

  it('lets a client that sends a little too much read why', async () => {
    await withServer({ set: { 'limits.body_bytes': '64KiB' } }, async (small, smallKey) => {
      const body = Buffer.alloc(MIB / 2, 0x20);
      for (let i = 0; i < 5; i++) {
        refused(await small.call('POST', CHAT, { key: smallKey, body }), 413);
        const raw = await Raw.connect(small.port);
        await raw.send(head(CHAT, smallKey, [`Content-Length: ${body.length}`]));
        await raw.send(body);
        refused(await raw.answer({ method: 'POST', path: CHAT }), 413);
        raw.destroy();
      }
    });
  });

  it('takes a body in pieces of any size', async () => {
    const raw = await Raw.connect(server.port);
    await raw.send(head(CHAT, key, ['Transfer-Encoding: chunked']));
    for (const byte of Buffer.from(JSON.stringify(endless(2)))) {
      await raw.send(`1\r\n${String.fromCharCode(byte)}\r\n`);
    }
    await raw.send('0\r\n\r\n');
    assert.equal((await raw.answer({ method: 'POST', path: CHAT })).status, 200);
    raw.destroy();
  });

  it('refuses too many of anything', async () => {
    const user = { role: 'user', content: 'a' };
    const many = await post({ ...hello, messages: Array(4097).fill(user) });
    assert.match(refused(many, 400), /4097.*4096/);
    const bias = Object.fromEntries(Array.from({ length: 1025 }, (_, i) => [i, 0]));
    refused(await post({ ...hello, logit_bias: bias }), 400);
    refused(await post({ ...hello, stop: Array(6).fill('x') }), 400);
    refused(await post({ ...hello, tools: Array(129).fill({}) }), 400);
    const wide = JSON.stringify(
      Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`k${i}`, i])),
    );
    assert.equal(
      (
        await post(
          `{"model":"kimi-k2.5","max_tokens":1,"messages":[{"role":"user","content":"a"}],"x":${wide}}`,
        )
      ).status,
      200,
    );
  });

  it('gives strange texts back as they are in its faults', async () => {
    const model = '"\\\u2028<script>\u{1f600}'.repeat(30);
    const answer = await post({ ...hello, model });
    refused(answer, 404, 'model_not_found');
    refused(await post({ ...hello, messages: [{ role: '\u0007"\\', content: 'x' }] }), 400);
  });
});

describe('bad heads', () => {
  let server, key;
  before(async () => {
    server = await Server.start();
    key = await server.key();
  });
  after(() => server.stop());

  it('refuses what two readers could read differently', async () => {
    for (const [text, status] of [
      ['GET /healthz HTTP/1.1\r\n\r\n', 400],
      ['GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', 400],
      ['GET /healthz HTTP/1.1\r\nHost : a\r\n\r\n', 400],
      ['GET /healthz HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n', 400],
      ['GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n', 400],
      ['POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n', 400],
      ['POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n', 400],
      [
        'POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
        400,
      ],
      ['POST /healthz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n', 400],
      ['GET /healthz HTTP/9.9\r\nHost: a\r\n\r\n', 505],
      ['nonsense\r\n\r\n', 400],
      ['\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n', 400],
      [`GET /healthz HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
      [`GET /healthz HTTP/1.1\r\nHost: a\r\n${'X: y\r\n'.repeat(200)}\r\n`, 431],
    ]) {
      const raw = await Raw.connect(server.port);
      await raw.send(Buffer.from(text, 'latin1'));
      const answer = await raw.answer();
      assert.ok(answer, `no answer to ${JSON.stringify(text.slice(0, 80))}`);
      assert.equal(answer.status, status, JSON.stringify(text.slice(0, 80)));
      await raw.untilClosed();
    }
  });

  it('refuses broken chunks', async () => {
    for (const body of [
      'zz\r\n',
      '-1\r\n',
      '1\r\nab\r\n',
      'fffffffffffffffff\r\n',
      '1;x\r\na\r\nq',
    ]) {
      const raw = await Raw.connect(server.port);
      await raw.send(head(CHAT, key, ['Transfer-Encoding: chunked']) + body);
      if (body.startsWith('1;x')) await raw.send('\r\n');
      refused(await raw.answer({ method: 'POST', path: CHAT }), 400);
      raw.destroy();
    }
  });

  it('answers requests one after the other on one connection', async () => {
    const raw = await Raw.connect(server.port);
    const one = head('/healthz', undefined, [], 'GET');
    await raw.send(one + one + one);
    for (let i = 0; i < 3; i++) assert.equal((await raw.answer()).status, 200);
    raw.destroy();
  });
});

describe('slow and leaving clients', () => {
  let server, key;
  before(async () => {
    server = await Server.start({
      set: {
        'limits.head_timeout': '1500ms',
        'limits.body_timeout': '1500ms',
        'limits.idle_timeout': '1s',
        'limits.stall_timeout': '2s',
      },
    });
    key = await server.key();
  });
  after(() => server.stop());

  const noneRuns = () => server.untilMetric('moongate_calls_running', (n) => n === 0);

  /** Sends a byte at a time until the server has enough of it. */
  const drip = async (raw, text) => {
    for (const byte of text) {
      if (raw.bytes.length > 0 || raw.closed) break;
      await raw.send(byte);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };

  it('gives a client up that sends a byte at a time, and answers others meanwhile', async () => {
    const inHead = await Raw.connect(server.port);
    const inBody = await Raw.connect(server.port);
    const body = JSON.stringify(hello);
    await inBody.send(head(CHAT, key, [`Content-Length: ${body.length}`]));
    const dripping = Promise.all([drip(inHead, head(CHAT, key)), drip(inBody, body)]);
    assert.equal((await server.chat(key, endless(3))).status, 200);
    for (const raw of [inHead, inBody]) {
      const answer = await raw.answer({ method: 'POST', path: CHAT });
      refused(answer, 408);
      await raw.untilClosed();
    }
    await dripping;
  });

  it('closes a connection that asks nothing', async () => {
    const raw = await Raw.connect(server.port);
    await raw.send(head('/healthz', undefined, [], 'GET'));
    assert.equal((await raw.answer()).status, 200);
    await raw.untilClosed();
  });

  it('forgets a client that leaves in any phase', alone, async () => {
    const text = head(CHAT, key, ['Content-Length: 100']);
    for (const part of ['', text.slice(0, 20), text, `${text}{"model"`]) {
      const raw = await Raw.connect(server.port);
      await raw.send(part);
      raw.destroy();
    }
    const body = JSON.stringify(endless(1900, { n: 5 }));
    const whole = await Raw.connect(server.port);
    await whole.send(head(CHAT, key, [`Content-Length: ${body.length}`]) + body);
    await server.untilMetric('moongate_calls_running', (n) => n === 1);
    whole.destroy();
    await noneRuns();
    await server.untilMetric('moongate_connections', (n) => n === 1); // the one that asks
  });

  it('stops the work of a stream whose client leaves', async () => {
    const kind = 'moongate_tokens_total{kind="completion"}';
    const earlier = await server.metric(kind);
    const streams = await Promise.all(
      Array.from({ length: 4 }, () => server.openChat(key, endless(1900, { n: 4 }))),
    );
    for (const stream of streams) await stream.until((a) => textOf(a).length > 0);
    for (const stream of streams) await stream.abort();
    await noneRuns();
    await server.untilMetric('moongate_engine_sequences_running', (n) => n === 0);
    // what was generated counts, and they did not run to their end
    await server.untilMetric(kind, (n) => n > earlier);
    assert.ok((await server.metric(kind)) - earlier < 4 * 4 * 1900);
  });

  it('stops the work of a client that takes nothing', alone, async () => {
    const raw = await Raw.connect(server.port);
    raw.socket.pause();
    const body = JSON.stringify(
      endless(1900, { n: 5, stream: true, logprobs: true, top_logprobs: 20 }),
    );
    await raw.send(head(CHAT, key, [`Content-Length: ${body.length}`]) + body);
    await server.untilMetric('moongate_calls_running', (n) => n === 1);
    assert.equal((await server.chat(key, endless(3))).status, 200, 'others are answered');
    await noneRuns();
    await server.untilMetric('moongate_connections', (n) => n === 1);
    raw.destroy();
  });
});

describe('a server with high limits', () => {
  let server, key;
  before(async () => {
    server = await Server.start({
      set: { 'limits.body_bytes': '80MiB', 'limits.messages': 1_000_000 },
    });
    key = await server.key();
  });
  after(() => server.stop());

  it('refuses one text of 64 MiB', async () => {
    const body = JSON.stringify({
      ...hello,
      messages: [{ role: 'user', content: 'word '.repeat((64 * MIB) / 5 - 100) }],
    });
    const [big, small] = await Promise.all([
      server.call('POST', CHAT, { key, body }),
      server.chat(key, endless(3)),
    ]);
    refused(big, 400);
    assert.equal(small.status, 200);
  });

  it('refuses a million messages', async () => {
    const one = '{"role":"user","content":"a"}';
    for (const [count, pattern] of [
      [1_000_001, /1000001.*1000000/],
      [1_000_000, /token limit/],
    ]) {
      const body = `{"model":"kimi-k2.5","messages":[${`${one},`.repeat(count - 1)}${one}]}`;
      const answer = await server.call('POST', CHAT, { key, body });
      assert.match(refused(answer, 400), pattern);
    }
  });

  it('reads two million parts of one message', async () => {
    const parts = '{"type":"text","text":""},'.repeat(2_000_000);
    const body = `{"model":"kimi-k2.5","max_tokens":1,"messages":[{"role":"user","content":[${parts}{"type":"text"}]}]}`;
    assert.match(
      refused(await server.call('POST', CHAT, { key, body }), 400),
      /content\[2000000\]/,
    );
  });
});
