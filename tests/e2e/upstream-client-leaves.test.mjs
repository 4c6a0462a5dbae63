// A client that leaves: the upstream sees its connection closed, in whatever phase the call is.
// The time that this took is printed; what is asserted is that it happens at once, and not when
// some limit ends the call: all limits are far beyond the minute that a test waits.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import net from 'node:net';
import { after, before, describe, it } from 'node:test';
import { textOf } from './lib/client.mjs';
import { begin, chunksOf, reply } from './lib/dialects.mjs';
import { closeAll, configOf, logLines } from './lib/gateway.mjs';
import { Raw, head } from './lib/raw.mjs';
import { Server, hello, until } from './lib/server.mjs';
import { Upstream, within } from './lib/upstream.mjs';

const hour = {
  connect_timeout: '10m',
  first_byte_timeout: '1h',
  idle_timeout: '1h',
  total_timeout: '1h',
};

describe('a client that leaves', () => {
  let server, key, upstream, silent, full;
  before(async () => {
    upstream = await Upstream.start(reply());
    silent = await Upstream.start(reply()); // says nothing to a handshake of TLS
    full = await fullListener();
    const backends = {
      up: { upstream, ...hour },
      handshake: { upstream: silent, ...hour, url: silent.url.replace('http:', 'https:') },
      connecting: { url: `http://127.0.0.1:${full.port}`, ...hour },
    };
    const models = Object.keys(backends).map((name) => ({ id: name, backends: [{ name }] }));
    server = await Server.start({ config: configOf({ backends, models }) });
    key = await server.key();
    // The first answer makes the checks of the contract ready, which takes a while.
    await server.chat(key, body('up', { stream: true }));
  });
  after(async () => {
    full?.close();
    await closeAll(server, upstream, silent);
  });

  const running = (n) => server.untilMetric('moongate_calls_running', (v) => v === n);
  const body = (model, more) => ({ ...hello, model, ...more });

  /** Leaves a call that `ready` says is where it should be; gives the time of leaving. */
  async function leave(model, more, ready) {
    const controller = new AbortController();
    const { signal } = controller;
    const call = server.chat(key, body(model, more), { signal }).catch(() => {});
    await ready();
    const at = performance.now();
    controller.abort();
    await call;
    return at;
  }

  const print = (t, phase, ms) => t.diagnostic(`${phase}: closed after ${ms.toFixed(1)} ms`);

  for (const stream of [false, true]) {
    const how = stream ? 'a stream' : 'a whole reply';

    it(`while the first byte of ${how} is awaited`, async (t) => {
      upstream.play((request, wire) => wire.stall());
      const n = upstream.requests.length + 1;
      const at = await leave('up', { stream }, () => upstream.asked(n));
      print(t, how, (await within(upstream.requests[n - 1].gone, 'the close')) - at);
      await running(0);
    });

    it(`after the head of ${how}`, async (t) => {
      const type = stream ? 'text/event-stream' : 'application/json';
      upstream.play(async (request, wire) => {
        await wire.head(200, { 'content-type': type });
        await wire.chunk(stream ? ': wait\n\n' : '{"choices":[');
        return wire.stall();
      });
      const n = upstream.requests.length + 1;
      const at = await leave('up', { stream }, () => upstream.asked(n));
      print(t, how, (await within(upstream.requests[n - 1].gone, 'the close')) - at);
      await running(0);
    });
  }

  it('in the middle of a stream', async (t) => {
    upstream.play(
      begin(async (request, wire) => {
        const [, more] = chunksOf({ content: [' and again'] });
        while (wire.open) {
          await wire.event(more);
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
      }),
    );
    const n = upstream.requests.length + 1;
    const answer = await server.openChat(key, body('up'));
    await answer.until((a) => textOf(a).length > 20);
    const at = performance.now();
    await answer.abort();
    print(t, 'streaming', (await within(upstream.requests[n - 1].gone, 'the close')) - at);
    await running(0);
    const id = answer.headers['x-trace-id'];
    const line = await until(
      () => logLines(server).find((l) => l.event === 'call' && l.trace_id === id),
      'its line in the log',
    );
    assert.equal(line.end, 'client_gone');
    assert.ok(line.completion_tokens > 0);
  });

  it('in a silent moment of a stream', async (t) => {
    upstream.play(begin((request, wire) => wire.stall()));
    const n = upstream.requests.length + 1;
    const answer = await server.openChat(key, body('up'));
    await answer.until((a) => textOf(a) === 'Once');
    const at = performance.now();
    await answer.abort();
    print(t, 'silent', (await within(upstream.requests[n - 1].gone, 'the close')) - at);
    await running(0);
  });

  it('while its upstream is paused because it does not read', async (t) => {
    let blocked = false;
    upstream.play(
      begin(async (request, wire) => {
        const [, more] = chunksOf({ content: ['x'.repeat(1 << 16)] });
        while (wire.open) {
          const taken = wire.event(more).then(() => true);
          const pause = new Promise((resolve) => setTimeout(resolve, 300, false));
          if (!(await Promise.race([taken, pause]))) blocked = true;
          await taken;
        }
      }),
    );
    const n = upstream.requests.length + 1;
    const raw = await Raw.connect(server.port);
    raw.socket.pause();
    const text = JSON.stringify(body('up', { stream: true }));
    await raw.send(
      head('/v1/chat/completions', key, [`Content-Length: ${Buffer.byteLength(text)}`]) + text,
    );
    await until(() => blocked, 'the upstream to be paused');
    const at = performance.now();
    raw.socket.resetAndDestroy();
    print(t, 'paused', (await within(upstream.requests[n - 1].gone, 'the close')) - at);
    await running(0);
  });

  it('by closing without a reset', async (t) => {
    upstream.play(begin((request, wire) => wire.stall()));
    const n = upstream.requests.length + 1;
    const raw = await Raw.connect(server.port);
    const text = JSON.stringify(body('up', { stream: true }));
    await raw.send(
      head('/v1/chat/completions', key, [`Content-Length: ${Buffer.byteLength(text)}`]) + text,
    );
    await until(() => raw.bytes.includes('Once'), 'the first text');
    const at = performance.now();
    raw.socket.destroy();
    print(t, 'FIN', (await within(upstream.requests[n - 1].gone, 'the close')) - at);
    await running(0);
  });

  it('in the handshake of TLS', async (t) => {
    const said = () => silent.connections[0]?.socket.bytesRead > 0;
    const at = await leave('handshake', {}, () => until(said, 'the first bytes of TLS'));
    print(t, 'handshake', (await within(silent.connections[0].gone, 'the close')) - at);
    await running(0);
    assert.equal(silent.requests.length, 0);
  });

  it('while the connection is made', async (t) => {
    const at = await leave('connecting', { stream: true }, () => running(1));
    await running(0);
    print(t, 'connecting', performance.now() - at);
  });
});

/**
 * A listener whose queue of connections is full, so that one more gets no answer. It belongs to a
 * process that blocks, since the loop of this one would take what comes.
 */
async function fullListener() {
  const script = `
    const server = require('net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 });
    server.on('listening', () => {
      require('fs').writeSync(1, String(server.address().port));
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    });`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const port = await new Promise((resolve) =>
    child.stdout.once('data', (text) => resolve(Number(text))),
  );
  let made = 0;
  const fillers = Array.from({ length: 5 }, () => {
    const socket = net.connect(port, '127.0.0.1');
    socket.on('connect', () => made++);
    return socket.on('error', () => {});
  });
  await until(() => made > 0, 'the first connection');
  const close = () => {
    for (const socket of fillers) socket.destroy();
    child.kill('SIGKILL');
  };
  return { port, close };
}
