// The disk fails at every write in turn (src/store/fault_vfs.c): the process dies before the N-th,
// or in the middle of it, or is told that it failed. A small load runs each time; afterwards the
// books are good and hold what clients were told. SQLite alone: PostgreSQL has a disk of its own.
//
// MOONGATE_TEST_STRIDE looks at each so many-th write alone (1: all of them).
import assert from 'node:assert/strict';
import { cpSync, existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { balanceOf, keyWith, plain } from './lib/books.mjs';
import { reply } from './lib/dialects.mjs';
import { configOf } from './lib/gateway.mjs';
import { Told, compare, proof } from './lib/load.mjs';
import { Server, folder, hello, until } from './lib/server.mjs';
import { isShared } from './lib/stores.mjs';
import { Upstream } from './lib/upstream.mjs';

const STRIDE = Number(process.env.MOONGATE_TEST_STRIDE ?? 1);
const AT_ONCE = 4; // runs beside each other; each waits for its process most of the time
const GRANT = 1_000_000;

describe('a disk that fails', { skip: isShared && 'SQLite alone' }, () => {
  let upstream, config, template, key;

  // No engine, so that a start takes no time; a hold's deadline is near.
  before(async () => {
    upstream = await Upstream.start(reply());
    config = configOf({
      backends: { up: { upstream } },
      model: plain,
      limits: { call_timeout: '2s', key_cache: 0 },
      store: { patience: '1s' },
      quota: { hold_margin: '1s' },
    });
    const server = await Server.start({ config, data: (template = folder()) });
    key = await keyWith(server, GRANT);
    assert.equal((await server.chat(key, hello)).status, 200);
    await server.stop();
  });
  after(async () => {
    rmSync(template, { recursive: true, force: true });
    await upstream.close();
  });

  /** The small load: whole replies, streams, a refusal; calls may fail and the server may go. */
  async function load(server, told) {
    const calls = [
      hello,
      { ...hello, stream: true, stream_options: { include_usage: true } },
      { ...hello, model: 'nobody' },
      hello,
    ];
    for (const body of calls) {
      try {
        told.note(await server.chat(key, body));
      } catch (error) {
        if (error instanceof assert.AssertionError) throw error;
        if (server.ended) return;
      }
    }
  }

  /** A folder, as it was left or new, and what is looked at in it once the disk is good again. */
  async function struck(fault, fresh, work, { unsure = false } = {}) {
    const data = folder();
    const count = join(data, 'count');
    const told = new Told();
    if (!fresh) cpSync(join(template, 'data'), join(data, 'data'), { recursive: true });
    const env = { MG_FAULT_WRITE: fault, MG_FAULT_COUNT: count };
    let server = await Server.start({ config, data, env }).catch(({ message }) => {
      assert.match(message, /^the program did not start:\n(?!.*environment)/);
      return null;
    });
    try {
      const writes = () => (existsSync(count) ? Number(readFileSync(count, 'utf8')) : null);
      if (server) await work(server, told);
      server?.signal('SIGTERM');
      await server?.exit;
      const n = writes();
      server = await Server.start({ config, data });
      const said = await proof(server);
      assert.equal(said.holds, 0);
      const rows = await compare(server, told, plain, { unsure });
      if (!fresh) {
        const charged = [...rows.values()].reduce((sum, row) => sum + row.charged_micros, 0);
        assert.equal(await balanceOf(server, key), GRANT - charged);
      }
      const good = fresh ? await keyWith(server, GRANT) : key;
      await until(async () => (await server.chat(good, hello)).status === 200, 'a good answer');
      await server.stop();
      return n;
    } catch (error) {
      error.message = `with MG_FAULT_WRITE=${fault}: ${error.message}`;
      throw error;
    } finally {
      await server?.kill();
      rmSync(data, { recursive: true, force: true });
    }
  }

  /** Runs one(n) for n = 1, 1 + stride, ... until it says that nothing failed any more. */
  async function inTurn(one) {
    let next = 1;
    let over = false;
    const worker = async () => {
      while (!over) {
        const n = next;
        next += STRIDE;
        if (await one(n)) over = true;
        assert.ok(n < 5000, 'an end');
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    assert.ok(next > 100, 'writes were counted');
    return next;
  }

  for (const kind of ['kill', 'torn']) {
    for (const fresh of [true, false]) {
      const what = kind === 'kill' ? 'before each write' : 'in the middle of each write';
      const where = fresh ? 'a new database' : 'one that is there';
      it(`leaves good books when the process dies ${what}, with ${where}`, async (t) => {
        const work = fresh ? async () => {} : load;
        // A process that ends by itself has written its count: it was not struck any more.
        const last = await inTurn(async (n) => (await struck(`${n}:${kind}`, fresh, work)) !== null);
        t.diagnostic(`${last} writes`);
      });
    }
  }

  for (const kind of ['once', 'full']) {
    it(`is told as such and works again without a restart: ${kind}`, async (t) => {
      const last = await inTurn(async (n) => {
        const writes = await struck(`${n}:${kind}`, false, async (server, told) => {
          await load(server, told);
          await until(async () => {
            const answer = await server.chat(key, hello);
            told.note(answer);
            return answer.status === 200;
          }, 'calls to be answered again');
        });
        return writes !== null && writes < n;
      });
      t.diagnostic(`${last} writes`);
    });
  }

  // Where the disk never comes back for this process, a commit whose last sync failed may be found
  // written afterwards, and nothing could be written any more that takes it back.
  it('for good refuses calls with 503 and loses nothing', async (t) => {
    const last = await inTurn(async (n) => {
      const writes = await struck(String(n), false, async (server, told) => {
        await load(server, told);
        const answer = await server.chat(key, hello);
        told.note(answer);
        assert.ok([200, 503].includes(answer.status), answer.text);
        if (answer.status === 503) assert.match(answer.headers['retry-after'], /^[1-9]/);
      }, { unsure: true });
      return writes !== null && writes < n;
    });
    t.diagnostic(`${last} writes`);
  });
});
