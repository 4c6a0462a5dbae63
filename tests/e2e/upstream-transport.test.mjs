// How bytes get to an upstream: TLS and its errors, HTTP/2, proxies.
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import net from 'node:net';
import { after, before, describe, it } from 'node:test';
import { certificates } from './lib/certificates.mjs';
import { textOf } from './lib/client.mjs';
import { begin, openaiError, refuse, reply } from './lib/dialects.mjs';
import { closeAll, configOf } from './lib/gateway.mjs';
import { Server, folder, hello, until } from './lib/server.mjs';
import { Upstream, within } from './lib/upstream.mjs';

/** A proxy for HTTP: connects where CONNECT says, and passes on what names a whole URL. */
async function startProxy() {
  const proxy = { asked: [], sockets: new Set() };
  const server = net.createServer((socket) => {
    proxy.sockets.add(socket);
    socket.on('error', () => {});
    socket.once('data', (data) => {
      const head = data.toString('latin1');
      proxy.asked.push(head.split('\r\n')[0]);
      const tunnel = /^CONNECT ([\d.]+):(\d+)/.exec(head);
      const [, host, port] = tunnel ?? /^[A-Z]+ http:\/\/([\d.]+):(\d+)/.exec(head);
      const far = net.connect(Number(port), host, () => {
        if (tunnel) socket.write('HTTP/1.1 200 Connected\r\n\r\n');
        else far.write(head.replace(/^([A-Z]+) http:\/\/[^/]+/, '$1 '), 'latin1');
        socket.pipe(far).pipe(socket);
      });
      proxy.sockets.add(far);
      far.on('error', () => socket.destroy());
      socket.on('close', () => far.destroy());
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  proxy.url = `http://127.0.0.1:${server.address().port}`;
  proxy.close = () => {
    for (const socket of proxy.sockets) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  };
  return proxy;
}

describe('the way to an upstream', () => {
  let server, key, data, proxy;
  const up = {};
  before(async () => {
    data = folder();
    const certs = certificates(data);
    const tls = certs.good;
    up.tls = await Upstream.start(reply(), { tls });
    up.otherHost = await Upstream.start(reply(), { tls: certs.otherHost });
    up.expired = await Upstream.start(reply(), { tls: certs.expired });
    up.strange = await Upstream.start(reply(), { tls: certs.strange });
    up.h2 = await Upstream.start(reply(), { tls, h2: true });
    up.prior = await Upstream.start(reply(), { h2: true });
    up.plain = await Upstream.start(reply());
    proxy = await startProxy();
    const ca = { ca_file: certs.caFile };
    const backends = {
      tls: { upstream: up.tls, ...ca },
      'other-host': { upstream: up.otherHost, ...ca },
      expired: { upstream: up.expired, ...ca },
      strange: { upstream: up.strange, ...ca },
      'not-the-system': { upstream: up.tls },
      unverified: { upstream: up.strange, tls_verify: false },
      h2: { upstream: up.h2, ...ca },
      'h2-off': { upstream: up.tls, ...ca, http2: 'off' },
      prior: { upstream: up.prior, http2: 'prior' },
      'by-proxy': { upstream: up.plain, proxy: proxy.url },
      'tls-by-proxy': { upstream: up.tls, ...ca, proxy: proxy.url },
    };
    const models = Object.keys(backends).map((name) => ({ id: name, backends: [{ name }] }));
    process.env.http_proxy = 'http://127.0.0.1:1';
    process.env.https_proxy = 'http://127.0.0.1:1';
    server = await Server.start({ config: configOf({ backends, models, routing: { tries: 1 } }) });
    key = await server.key();
  });
  after(async () => {
    delete process.env.http_proxy;
    delete process.env.https_proxy;
    await closeAll(server, proxy, ...Object.values(up));
    rmSync(data, { recursive: true });
  });

  const works = async (model) => {
    for (const stream of [false, true]) {
      const answer = await server.chat(key, { ...hello, model, stream });
      assert.equal(answer.status, 200, answer.text);
      assert.equal(textOf(answer), 'Hello there');
    }
  };

  it('is TLS with an authority of its own', () => works('tls'));
  it('is not checked where that is said', () => works('unverified'));

  for (const [model, what, at] of [
    ['other-host', 'for another host', 'otherHost'],
    ['expired', 'whose time is over', 'expired'],
    ['strange', 'of another authority', 'strange'],
    ['not-the-system', 'that the system does not know', 'tls'],
  ]) {
    it(`is refused for a certificate ${what}: 502`, async () => {
      const asked = up[at].requests.length;
      for (const stream of [false, true]) {
        const answer = await server.chat(key, { ...hello, model, stream });
        assert.equal(answer.status, 502, answer.text);
        assert.equal(answer.json.error.code, 'api_error');
      }
      assert.equal(up[at].requests.length, asked, 'no request went out');
      await until(() => server.log.includes(`${model}: failed`), 'the reason in the log');
    });
  }

  it('is HTTP/2 where TLS agrees on it', async () => {
    for (let i = 0; i < 4; i++) await works('h2');
    const { length: processes } = server.processes;
    assert.equal(up.h2.connections.length, processes, 'it is kept for the next call');
    const calls = Array.from({ length: 20 }, () => server.chat(key, { ...hello, model: 'h2' }));
    for (const answer of await Promise.all(calls)) assert.equal(textOf(answer), 'Hello there');
    assert.ok(up.h2.requests.every((request) => request.version === 'HTTP/2'));
  });

  it('is HTTP/2 without TLS where that is known', async () => {
    await works('prior');
    assert.ok(up.prior.requests.every((request) => request.version === 'HTTP/2'));
  });

  it('is HTTP/1.1 where HTTP/2 is off', async () => {
    await works('h2-off');
    assert.equal(up.tls.requests.at(-1).version, 'HTTP/1.1');
  });

  it('ends a call over HTTP/2 when its client leaves, and not another', async (t) => {
    const held = begin((request, wire) => wire.stall());
    up.h2.play([held, held, reply()]);
    const n = up.h2.requests.length;
    const streams = [];
    for (let i = 0; i < 2; i++) {
      streams.push(await server.openChat(key, { ...hello, model: 'h2' }));
      await streams[i].until((a) => textOf(a) === 'Once');
    }
    const at = performance.now();
    await streams[0].abort();
    const ms = (await within(up.h2.requests[n].gone, 'the close')) - at;
    t.diagnostic(`closed after ${ms.toFixed(1)} ms`);
    assert.equal(up.h2.requests[n + 1].goneAt, undefined, 'the other goes on');
    assert.equal(textOf(await server.chat(key, { ...hello, model: 'h2' })), 'Hello there');
    await streams[1].abort();
    await within(up.h2.requests[n + 1].gone, 'the other close');
    up.h2.play(reply());
  });

  it('tells a reset stream of HTTP/2 as a failure', async () => {
    up.h2.play([
      (request, wire) => wire.reset(),
      begin((request, wire) => wire.reset()),
      refuse(400, openaiError('odd')),
      reply(),
    ]);
    const ask = (stream) => server.chat(key, { ...hello, model: 'h2', stream });
    assert.equal((await ask(true)).status, 502);
    const cut = await ask(true);
    assert.equal(cut.chunks.at(-1).error.code, 'api_error');
    assert.match((await ask(false)).json.error.message, /odd/);
    assert.equal((await ask(false)).status, 200);
  });

  it('goes through a proxy', async () => {
    await works('by-proxy');
    assert.match(proxy.asked[0], new RegExp(`^(POST http://|CONNECT )127.0.0.1:${up.plain.port}`));
    const before = proxy.asked.length;
    await works('tls-by-proxy');
    assert.match(proxy.asked[before], new RegExp(`^CONNECT 127.0.0.1:${up.tls.port}`));
    assert.ok(!proxy.asked.some((line) => /sk-|mg-|Hello/.test(line)));
  });
});
