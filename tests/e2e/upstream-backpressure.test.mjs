// A client that reads slowly, or not at all: its upstream waits, memory is bounded, and after a
// time the stream is cut with a reason.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { begin, chunksOf } from './lib/dialects.mjs';
import { logLines, relay } from './lib/gateway.mjs';
import { Raw, head } from './lib/raw.mjs';
import { hello, until } from './lib/server.mjs';
import { within } from './lib/upstream.mjs';

const MB = 1 << 20;
const piece = 'x'.repeat(16 << 10);

/** Sends `total` bytes of text as fast as they are taken, and notes how far it came. */
function flood(total) {
  const state = { sent: 0, moved: 0 };
  const [, more] = chunksOf({ content: [piece] });
  const end = chunksOf({ content: [], usage: { prompt: 3, completion: 5 } }).slice(1);
  const event = `data: ${JSON.stringify(more)}\n\n`;
  state.script = begin(async (request, wire) => {
    while (wire.open && state.sent < total) {
      await wire.chunk(event);
      state.sent += piece.length;
      state.moved = performance.now();
    }
    for (const chunk of end) await wire.event(chunk);
    await wire.event('[DONE]');
    await wire.end();
  });
  return state;
}

/** A size of a process, such as VmRSS, in bytes. */
function sizeOf(pid, name) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)[1]) * 1024;
}

/** A client that sends its request and reads nothing. */
async function deaf(server, key, more = {}) {
  const raw = await Raw.connect(server.port);
  raw.socket.pause();
  const text = JSON.stringify({ ...hello, stream: true, ...more });
  const lines = [`Content-Length: ${Buffer.byteLength(text)}`];
  await raw.send(head('/v1/chat/completions', key, lines) + text);
  return raw;
}

/** Lets it read: counts the letters of the pieces, and keeps the last bytes. */
function drain(raw) {
  const got = { letters: 0, tail: '' };
  raw.socket.removeAllListeners('data');
  raw.socket.on('data', (data) => {
    for (let i = 0; i < data.length; i++) got.letters += data[i] === 0x78;
    got.tail = (got.tail + data.subarray(-256).toString('latin1')).slice(-256);
  });
  raw.socket.resume();
  return got;
}

// Half a second without a byte taken is no proof of a pause, but then a bound would break later.
const stopped = (state) =>
  until(() => state.sent > 0 && performance.now() - state.moved > 500, 'the upstream to wait');

describe('a client that reads slowly', () => {
  it('pauses its upstream, in bounded memory, and gets all when it reads again', async (t) => {
    const state = flood(64 * MB);
    await relay(state.script, async ({ server, key, upstream }) => {
      const { pid } = server.process;
      const before = sizeOf(pid, 'VmRSS');
      const raw = await deaf(server, key);
      await stopped(state);
      const held = state.sent;
      const grown = sizeOf(pid, 'VmRSS') - before;
      t.diagnostic(
        `${(held / MB).toFixed(1)} MB taken, memory grew by ${(grown / MB).toFixed(1)} MB`,
      );
      assert.ok(held < 24 * MB, `${held} bytes were taken`); // sockets have some megabytes each
      const sanitized = sizeOf(pid, 'VmSize') > 2 ** 40; // its shadow; what is freed is kept a while
      assert.ok(grown < (sanitized ? 128 : 8) * MB, `memory grew by ${grown} bytes`);
      const got = drain(raw);
      await until(() => /\[DONE\]/.test(got.tail), 'the end of the stream');
      assert.ok(got.letters >= state.sent, `${got.letters} of ${state.sent} came`);
      assert.ok(state.sent >= 64 * MB, 'the upstream gave all');
      raw.destroy();
      assert.equal(upstream.requests.length, 1);
    });
  });

  it('gets every byte in order', async () => {
    const state = flood(12 * MB);
    await relay(state.script, async ({ server, key }) => {
      const answer = await server.openChat(key, hello);
      answer.response.pause();
      await until(() => state.sent >= 12 * MB || performance.now() - state.moved > 300, 'a pause');
      answer.response.resume();
      await answer.end;
      const text = answer.chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');
      assert.equal(text, `Once${piece.repeat((12 * MB) / piece.length)}`);
    });
  });

  it('is not held against the upstream', async () => {
    const state = flood(24 * MB);
    const options = { backend: { idle_timeout: '300ms', total_timeout: '0' } };
    await relay(
      state.script,
      async ({ server, key }) => {
        const raw = await deaf(server, key);
        await until(() => state.sent > 0 && performance.now() - state.moved > 900, 'a long pause');
        const got = drain(raw);
        await until(() => /\[DONE\]/.test(got.tail), 'the end of the stream');
        raw.destroy();
      },
      options,
    );
  });

  it('is cut when it stalls, with a reason in the log', async () => {
    const state = flood(200 * MB);
    const options = { limits: { stall_timeout: '700ms' } };
    await relay(
      state.script,
      async ({ server, key, upstream }) => {
        const raw = await deaf(server, key);
        const { gone } = await upstream.asked(1);
        await within(gone, 'the close');
        assert.ok(state.sent < 24 * MB);
        const line = await until(
          () => logLines(server).find((l) => l.event === 'call' && l.end === 'client_stalled'),
          'the reason in the log',
        );
        assert.equal(line.backend, 'up');
        await server.untilMetric('moongate_calls_running', (n) => n === 0);
        raw.destroy();
      },
      options,
    );
  });

  it('does not slow others down', async () => {
    const state = flood(200 * MB);
    const quick = flood(1 * MB);
    let first = true;
    const script = (request, wire) => {
      const one = first ? state : quick;
      first = false;
      return one.script(request, wire);
    };
    await relay(script, async ({ server, key }) => {
      const raw = await deaf(server, key);
      await stopped(state);
      const answer = await server.chat(key, { ...hello, stream: true });
      assert.equal(answer.events.at(-1), '[DONE]');
      raw.destroy();
      await server.untilMetric('moongate_calls_running', (n) => n === 0);
    });
  });
});
