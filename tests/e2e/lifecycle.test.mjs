// Starting, reloading, stopping.
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { finishOf, textOf } from './lib/client.mjs';
import { Server, endless, folder, hello, run, until, withServer } from './lib/server.mjs';

/** Starts the program, which must refuse; gives what it said. */
async function refuses(args, options = {}) {
  const data = folder();
  try {
    for (const [name, text] of Object.entries(options.files ?? {}))
      writeFileSync(join(data, name), text);
    const { code, stderr } = await run(
      ['serve', '--data', join(data, 'data'), '--listen', '127.0.0.1:0', ...args],
      {
        cwd: data,
        env: { ...process.env, ...options.env },
      },
    );
    assert.ok(code > 0, `it ended with ${code}: ${stderr}`);
    return stderr;
  } finally {
    rmSync(data, { recursive: true, force: true });
  }
}

// The slowest machine with sanitizers has time for the longest reply.
const patient = { set: { 'limits.drain': '10m' } };

describe('lifecycle', () => {
  it('says that it is alive and ready', async () => {
    await withServer({}, async (server) => {
      assert.deepEqual((await server.call('GET', '/healthz')).json, { status: 'ok' });
      assert.deepEqual((await server.call('GET', '/readyz')).json, { status: 'ready' });
      assert.equal((await server.call('GET', '/docs')).status, 200);
      assert.match((await server.call('GET', '/')).text, /moongate/);
    });
  });

  it('finishes a running stream when it is told to stop', async () => {
    await withServer(patient, async (server, key) => {
      const stream = await server.openChat(key, endless(1900));
      await stream.until((a) => textOf(a).length > 0);
      server.process.kill('SIGTERM');
      await stream.end;
      assert.equal(finishOf(stream), 'length');
      assert.equal(stream.events.at(-1), '[DONE]');
    });
  });

  it('takes no new connection while it stops', async () => {
    await withServer(patient, async (server, key) => {
      const stream = await server.openChat(key, endless(1900, { n: 5 }));
      await stream.until((a) => textOf(a).length > 0);
      server.process.kill('SIGTERM');
      await until(() => /stopping/.test(server.log), 'the log to tell of it');
      await assert.rejects(
        server.call('GET', '/healthz'),
        /ECONNREFUSED|ECONNRESET|socket hang up/,
      );
      await stream.end;
    });
  });

  it('ends at once when it is told twice', async () => {
    await withServer({}, async (server, key) => {
      const stream = await server.openChat(key, endless(1900, { n: 5 }));
      await stream.until((a) => textOf(a).length > 0);
      server.process.kill('SIGTERM');
      await until(() => /stopping/.test(server.log), 'the log to tell of it');
      server.process.kill('SIGTERM');
      await server.exit;
      await stream.end;
      assert.ok(!stream.events.includes('[DONE]'), 'a stream that was cut does not look whole');
    });
  });

  it('keeps its keys when it starts again, also after it was killed', async () => {
    const data = folder();
    let key;
    for (const signal of ['SIGTERM', 'SIGKILL', 'SIGTERM']) {
      const server = await Server.start({ data });
      try {
        key ??= await server.key();
        assert.equal((await server.chat(key, endless(2))).status, 200);
        server.process.kill(signal);
        await server.exit;
      } finally {
        await server.kill();
      }
    }
    rmSync(data, { recursive: true, force: true });
  });

  it('does not take an address that is taken', async () => {
    await withServer({}, async (server) => {
      const { code, stderr } = await run([
        'serve',
        '--data',
        join(server.data, 'other'),
        '--listen',
        `127.0.0.1:${server.port}`,
      ]);
      assert.ok(code > 0);
      assert.match(stderr, new RegExp(String(server.port)));
    });
  });
});

describe('configuration', () => {
  it('stops the start with file, line and what is allowed', async () => {
    const file = 'moongate.yaml';
    for (const [text, line, pattern] of [
      ['limits:\n  messages: many\n', 2, /1.*1000000/],
      ['limits:\n  messages: 0\n', 2, /least.* 1$/m],
      ['limits:\n  massages: 3\n', 2, /massages/],
      ['nonsense: 1\n', 1, /nonsense/],
      ['log:\n  level: loud\n', 2, /debug.*info.*warn.*error/],
      ['log:\n  level: info\n  level: warn\n', 3, /level/],
      ['models:\n  - id: a\n    thinking: maybe\n', 3, /never.*off.*on.*always/],
      ['limits: [\n', 2, /./],
    ]) {
      const said = await refuses(['--config', file], { files: { [file]: text } });
      assert.match(said, new RegExp(`${file}:${line}\\b`), `${text}${said}`);
      assert.match(said, pattern);
    }
  });

  it('stops the start on a mistake of the command line or the environment', async () => {
    assert.match(await refuses(['--set', 'limits.messages=x']), /limits\.messages/);
    assert.match(await refuses(['--set', 'limits.nothing=1']), /limits\.nothing/);
    assert.match(await refuses(['--bogus']), /bogus/);
    assert.match(await refuses(['--config', 'not-there.yaml']), /not-there\.yaml/);
    assert.match(await refuses(['--gguf', 'not-there.gguf']), /not-there\.gguf/);
    const env = { MOONGATE_LIMITS_MESSAGES: 'x' };
    assert.match(await refuses([], { env }), /MOONGATE_LIMITS_MESSAGES/);
  });

  it('refuses weights that are no weights', async () => {
    const files = { 'a.gguf': 'GGUF', 'b.gguf': 'not weights at all' };
    for (const name of Object.keys(files))
      assert.match(await refuses(['--gguf', name], { files }), new RegExp(name));
  });

  it('is read anew on SIGHUP, and kept if the new one is bad', async () => {
    const config = (messages) => `limits:\n  messages: ${messages}\n`;
    await withServer({ config: config(2) }, async (server, key) => {
      const three = { ...endless(2), messages: Array(3).fill(hello.messages[0]) };
      const status = async () => (await server.chat(key, three)).status;
      assert.equal(await status(), 400);
      writeFileSync(server.config, config(3));
      server.process.kill('SIGHUP');
      await until(async () => (await status()) === 200, 'the new limit to hold');
      writeFileSync(server.config, config('none'));
      server.process.kill('SIGHUP');
      await until(() => /kept the old configuration/.test(server.log), 'the log to tell of it');
      assert.equal(await status(), 200);
    });
  });

  it('keeps the configuration of a call that began under it', async () => {
    const config = (keepAlive) => `limits:\n  keep_alive: ${keepAlive}\n`;
    await withServer({ config: config('10s') }, async (server, key) => {
      const stream = await server.openChat(key, endless(1900, { n: 3 }));
      await stream.until((a) => textOf(a).length > 0);
      writeFileSync(server.config, config('100ms'));
      server.process.kill('SIGHUP');
      await until(() => /read anew/.test(server.log), 'the reload');
      await stream.end;
      assert.equal(finishOf(stream), 'length');
    });
  });

  it('checks and shows itself', async () => {
    const data = folder();
    writeFileSync(join(data, 'good.yaml'), 'limits:\n  messages: 7\n');
    writeFileSync(join(data, 'bad.yaml'), 'limits:\n  messages: -7\n');
    const at = { cwd: data };
    assert.equal((await run(['config', 'check', '--config', 'good.yaml'], at)).code, 0);
    const bad = await run(['config', 'check', '--config', 'bad.yaml'], at);
    assert.ok(bad.code > 0);
    assert.match(bad.stderr, /bad\.yaml:2/);
    assert.match(
      (await run(['config', 'show', '--config', 'good.yaml'], at)).stdout,
      /messages: 7/,
    );
    rmSync(data, { recursive: true, force: true });
  });
});
