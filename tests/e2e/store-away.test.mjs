// The store is away, full, locked or slow while calls run: new calls get 503 and are told when to
// come again, streams end (with [DONE] only if they stand in the books), and when it is back all
// goes on without a restart and nothing was charged twice or lost.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { balanceOf, costOf, keyWith, plain, pricedConfig } from './lib/books.mjs';
import { textOf } from './lib/client.mjs';
import { Told, compare, proof } from './lib/load.mjs';
import { Postgres } from './lib/postgres.mjs';
import { Server, endless, until } from './lib/server.mjs';
import { isShared } from './lib/stores.mjs';

const GRANT = 100_000_000;
const SHORT = 500; // tokens of a reply that ends while the store is away, but not before
const kimi = '/kimi/chat/completions';
const config = pricedConfig(plain, {
  limits: { call_timeout: '10m', drain: '10m' },
  store: { patience: '2s' },
  quota: { hold_margin: '1s' },
});

function assertAway(answer) {
  assert.equal(answer.status, 503, answer.text);
  assert.match(answer.headers['retry-after'], /^[1-9][0-9]*$/);
  assert.equal(answer.headers['x-should-retry'], 'true');
  assert.equal(answer.json.error.type, 'server_unavailable');
}

/** Runs one(): a stream that has begun; it ends whatever the store does. */
async function begun(server, key, tokens) {
  const stream = await server.openChat(key, endless(tokens), { path: kimi });
  await stream.until((a) => textOf(a).length > 0);
  return stream;
}

/** How a stream ended: `done`, or with an error event and no [DONE]. */
function endOf(stream) {
  assert.ok(stream.complete, 'a stream ends well-formed');
  if (stream.events.at(-1) === '[DONE]') return 'done';
  const { error } = JSON.parse(stream.events.at(-1));
  assert.equal(error.type, 'server_unavailable', stream.events.at(-1));
  return 'error';
}

/** Of several processes each finds the store again by itself: all have, when a row of calls is good. */
async function answersAgain(server, key, told) {
  let good = 0;
  await until(async () => {
    const answer = await server.chat(key, endless(2));
    told.note(answer);
    if (answer.status !== 200) assertAway(answer);
    good = answer.status === 200 ? good + 1 : 0;
    return good === 6;
  }, 'calls to be answered again');
}

/** The books are good, hold what was told, and every hold has come back. */
async function settled(server, { key, name }, told) {
  await until(async () => (await proof(server)).holds === 0, 'the holds to come back');
  const rows = await compare(server, told, plain);
  const mine = [...rows.values()].filter((row) => row.key_name === name);
  const charged = mine.reduce((sum, row) => sum + row.charged_micros, 0);
  assert.equal(await balanceOf(server, key), GRANT - charged);
  return rows;
}

/** A server with the load of one test: breaks the store with `leave`, mends it with `come`. */
async function outage({ server, name, leave, come }) {
  const told = new Told();
  const key = await keyWith(server, GRANT, { name });
  told.note(await server.chat(key, endless(3)));
  const long = await begun(server, key, 1900);
  const wholes = [1, 2].map(() => server.chat(key, endless(SHORT)));
  const short = await Promise.all([1, 2, 3].map(() => begun(server, key, SHORT)));
  await leave();
  try {
    const refused = await until(async () => {
      const answer = await server.chat(key, endless(2));
      told.note(answer);
      return answer.status !== 200 && answer;
    }, 'calls to be refused');
    assertAway(refused);
    assertAway(await server.chat(key, endless(2, { stream: true })));
    const ends = [];
    for (const stream of short) {
      told.note(await stream.end);
      ends.push(endOf(stream));
    }
    for (const answer of await Promise.all(wholes)) {
      told.note(answer);
      if (answer.status !== 200) assertAway(answer);
    }
    assert.ok(ends.includes('error'), 'none is told as whole that is not in the books');
  } finally {
    await come();
  }
  await answersAgain(server, key, told);
  told.note(await long.end);
  endOf(long);
  const rows = await settled(server, { key, name }, told);
  // A stream that ended with an error was given all the same: it is charged, once.
  for (const stream of short) {
    const row = rows.get(stream.headers['x-trace-id']);
    assert.ok(row, 'the row of a stream is late, not lost');
    assert.equal(row.completion_tokens, SHORT);
    assert.equal(row.charged_micros, costOf(row), JSON.stringify(row));
  }
}

/** Ends a server, and then what it stood on. */
async function close(server, last) {
  try {
    await server?.stop();
  } finally {
    await server?.kill();
    await last();
  }
}

describe('PostgreSQL', { skip: !isShared && 'of PostgreSQL' }, () => {
  let postgres, server;
  before(async () => {
    postgres = await Postgres.start();
    server = await Server.start({ config, env: { MOONGATE_STORE_URL: postgres.url } });
  });
  after(() => close(server, () => postgres.close()));

  it('that crashes and comes back', async () => {
    const leave = () => postgres.crash();
    await outage({ server, name: 'crash', leave, come: () => postgres.again() });
  });

  it('that hangs and goes on', async () => {
    const leave = () => postgres.freeze();
    await outage({ server, name: 'hang', leave, come: () => postgres.thaw() });
  });

  it('that ends all connections costs no call', async () => {
    const key = await keyWith(server, GRANT, { name: 'cut' });
    const told = new Told();
    for (let i = 0; i < 5; i++) {
      await postgres.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'books'",
      );
      const answer = await server.chat(key, endless(2));
      assert.equal(answer.status, 200, answer.text);
      told.note(answer);
    }
    await settled(server, { key, name: 'cut' }, told);
  });

  it('that is not there stops the start with a reason', async () => {
    const env = { MOONGATE_STORE_URL: postgres.url.replace('/books?', '/nothing?') };
    await assert.rejects(Server.start({ config, env }), /did not start:[^]*nothing/);
  });
});

/** Holds the write lock of a SQLite file, as another program might: {release}. */
async function lock(file) {
  const child = spawn('sqlite3', ['-bail', file], { stdio: ['pipe', 'pipe', 'inherit'] });
  const exit = new Promise((resolve) => child.on('close', resolve));
  let said = '';
  child.stdout.on('data', (data) => (said += data));
  child.stdin.write('.timeout 10000\nBEGIN IMMEDIATE;\n.print locked\n');
  await until(() => said.includes('locked') || child.exitCode !== null, 'the lock');
  assert.equal(child.exitCode, null);
  return {
    release() {
      child.stdin.end('ROLLBACK;\n');
      return exit;
    },
  };
}

/** A small file system of its own, if this user may mount one; null if not. */
function smallDisk(megabytes) {
  const at = mkdtempSync(join(tmpdir(), 'moongate-disk-'));
  try {
    const options = `size=${megabytes}m,mode=700`;
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', at], { stdio: 'pipe' });
    return at;
  } catch {
    rmSync(at, { recursive: true });
    return null;
  }
}

describe('SQLite', { skip: isShared && 'of SQLite' }, () => {
  it('whose lock another program keeps', async () => {
    const server = await Server.start({ config });
    try {
      let held;
      const leave = async () => (held = await lock(join(server.data, 'data', 'moongate.db')));
      await outage({ server, name: 'lock', leave, come: () => held.release() });
      await server.stop();
    } finally {
      await server.kill();
    }
  });

  it('whose file is gone for a while', async () => {
    const server = await Server.start({ config });
    const file = join(server.data, 'data', 'moongate.db');
    try {
      const leave = () => renameSync(file, `${file}.away`);
      await outage({ server, name: 'gone', leave, come: () => renameSync(`${file}.away`, file) });
      await server.stop();
    } finally {
      await server.kill();
    }
  });

  it('whose disk is full', async (t) => {
    const disk = smallDisk(16);
    if (!disk) return t.skip('no file system may be mounted; disk-faults.test.mjs has it all the same');
    const server = await Server.start({ config, data: disk });
    try {
      const ballast = join(disk, 'ballast');
      // To the last page: what SQLite has reserved of its log is still written.
      const leave = () => {
        const fd = openSync(ballast, 'w');
        try {
          for (const bytes of [1 << 20, 4096]) {
            const block = Buffer.alloc(bytes);
            try {
              for (;;) writeSync(fd, block);
            } catch (error) {
              assert.equal(error.code, 'ENOSPC');
            }
          }
        } finally {
          closeSync(fd);
        }
      };
      await outage({ server, name: 'full', leave, come: () => rmSync(ballast) });
      await server.stop();
    } finally {
      await server.kill();
      execFileSync('umount', ['-l', disk]);
      rmSync(disk, { recursive: true });
    }
  });
});
