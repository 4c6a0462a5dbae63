// SIGHUP changes backends and models under running streams; SIGTERM lets them finish.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { finishOf, textOf } from './lib/client.mjs';
import { begin, chunksOf, openaiError, refuse, reply } from './lib/dialects.mjs';
import { configOf, logLines, model, relay, withGateway, withUpstreams } from './lib/gateway.mjs';
import { hello, until } from './lib/server.mjs';
import { within } from './lib/upstream.mjs';

/** A stream that says "Once", waits for free(), and ends well. */
function held() {
  let free;
  const gate = new Promise((resolve) => (free = resolve));
  const script = begin(async (request, wire) => {
    await gate;
    for (const chunk of chunksOf({ content: [' more'] }).slice(1)) await wire.event(chunk);
    await wire.event('[DONE]');
    await wire.end();
  });
  return { script, free };
}

async function reload(server, config) {
  const count = () => server.log.split('read anew').length;
  const earlier = count();
  writeFileSync(server.config, config);
  server.process.kill('SIGHUP');
  await until(() => count() > earlier, 'the reload');
}

describe('a reload', () => {
  it('puts a new backend in the place of one whose stream runs on', async () => {
    const { script, free } = held();
    await withUpstreams([script, reply({ content: ['New'] })], async (old, fresh) => {
      await withGateway({ backends: { old } }, async (server, key) => {
        const stream = await server.openChat(key, hello);
        await stream.until((a) => textOf(a) === 'Once');
        await reload(server, configOf({ backends: { fresh } }));
        assert.equal(textOf(await server.chat(key, hello)), 'New');
        assert.equal(stream.complete, undefined, 'it still runs');
        free();
        await stream.end;
        assert.equal(textOf(stream), 'Once more');
        assert.equal(finishOf(stream), 'stop');
        assert.equal(old.requests.length, 1);
      });
    });
  });

  it('changes the models, and a call keeps what it began with', async () => {
    const { script, free } = held();
    await withUpstreams([[script, reply()]], async (up) => {
      const models = (id) => [{ id, backends: [{ name: 'up', model: `${id}-there` }] }];
      await withGateway({ backends: { up }, models: models('a') }, async (server, key) => {
        const stream = await server.openChat(key, { ...hello, model: 'a' });
        await stream.until((a) => textOf(a) === 'Once');
        await reload(server, configOf({ backends: { up }, models: models('b') }));
        assert.equal((await server.chat(key, { ...hello, model: 'a' })).status, 404);
        assert.equal((await server.chat(key, { ...hello, model: 'b' })).status, 200);
        assert.equal(up.requests.at(-1).body.model, 'b-there');
        free();
        await stream.end;
        assert.ok(stream.chunks.every((chunk) => chunk.model === 'a'));
        assert.equal(finishOf(stream), 'stop');
      });
    });
  });

  it('takes the queue along', async () => {
    const first = held();
    await withUpstreams([[first.script, reply()]], async (up) => {
      const options = (concurrency) => ({ backends: { up: { upstream: up, concurrency } } });
      await withGateway(options(1), async (server, key) => {
        const stream = await server.openChat(key, hello);
        await stream.until((a) => textOf(a) === 'Once');
        const waiting = server.chat(key, hello);
        await server.untilMetric('moongate_calls_waiting', (n) => n === 1);
        await reload(server, configOf(options(2)));
        assert.equal((await within(waiting, 'the call that waited')).status, 200);
        first.free();
        await stream.end;
        assert.equal(finishOf(stream), 'stop');
      });
    });
  });

  it('keeps the health of a backend that stays as it was', async () => {
    await withUpstreams([refuse(500, openaiError('boom')), reply()], async (first, second) => {
      const options = (more) => ({
        backends: { first, second },
        routes: [{ name: 'first' }, { name: 'second', priority: 2 }],
        routing: { failures: 1, open: '60s' },
        ...more,
      });
      await withGateway(options(), async (server, key) => {
        assert.equal((await server.chat(key, hello)).status, 200);
        await reload(server, configOf(options({ limits: { messages: 100 } })));
        assert.equal((await server.chat(key, hello)).status, 200);
        assert.equal(first.requests.length, 1, 'its circuit is still open');
      });
    });
  });

  it('is refused whole when something is wrong with it', async () => {
    await relay(reply(), async ({ server, key, upstream }) => {
      for (const [config, pattern] of [
        [configOf({ backends: { up: upstream }, routes: [{ name: 'nobody' }] }), /nobody/],
        [configOf({ backends: { up: { url: 'gopher://127.0.0.1' } } }), /url/],
        [configOf({ backends: { up: { upstream, key_file: '/nowhere/key' } } }), /nowhere/],
      ]) {
        const earlier = server.log.length;
        writeFileSync(server.config, config);
        server.process.kill('SIGHUP');
        await until(() => /kept the old/.test(server.log.slice(earlier)), 'the log to tell of it');
        assert.match(server.log.slice(earlier), pattern);
        assert.equal((await server.chat(key, hello)).status, 200);
      }
    });
  });
});

describe('stopping', () => {
  it('finishes the streams of upstreams first', async () => {
    const { script, free } = held();
    await relay(script, async ({ server, key }) => {
      const stream = await server.openChat(key, hello);
      await stream.until((a) => textOf(a) === 'Once');
      server.process.kill('SIGTERM');
      await until(() => /stopping: 1 request/.test(server.log), 'the log to tell of it');
      free();
      await stream.end;
      assert.equal(textOf(stream), 'Once more');
      assert.equal(stream.events.at(-1), '[DONE]');
    });
  });

  it('cuts what is left after the limit, and says what', async () => {
    const stuck = begin((request, wire) => wire.stall());
    await relay(
      [stuck, (request, wire) => wire.stall()],
      async ({ server, key, upstream }) => {
        const stream = await server.openChat(key, { ...hello, stream: true });
        await stream.until((a) => textOf(a) === 'Once');
        const whole = server.chat(key, hello).catch(() => null);
        await upstream.asked(2);
        server.process.kill('SIGTERM');
        await stream.end;
        assert.ok(!stream.events.includes('[DONE]'), 'what was cut does not look whole');
        await whole;
        await server.exit;
        const lines = logLines(server).filter((line) => line.event === 'call');
        const line = lines.find((l) => l.trace_id === stream.headers['x-trace-id']);
        assert.ok(line, server.log);
        assert.notEqual(line.end, 'ok');
        assert.equal(line.model, model);
        assert.match(server.log, /cut/);
        for (const { gone } of upstream.requests) await within(gone, 'the close');
      },
      { limits: { drain: '300ms' } },
    );
  });
});
