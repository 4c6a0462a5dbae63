// Copies of the database, and the way from one kind of database to the other and back.
import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Postgres } from './lib/postgres.mjs';
import { Server, folder, hello, run } from './lib/server.mjs';
import { isShared } from './lib/stores.mjs';

// They name the stores themselves.
const sqlite = { skip: isShared && 'begins with SQLite' };
const short = { ...hello, max_tokens: 4 };

async function works(args, options) {
  const { code, stdout, stderr } = await run(args, options);
  assert.equal(code, 0, stderr);
  return { stdout, stderr };
}

async function fails(args, code, text, options) {
  const answer = await run(args, options);
  assert.equal(answer.code, code, answer.stderr);
  assert.match(answer.stderr, text);
  assert.equal(answer.stdout, '');
  return answer.stderr;
}

/** Works with a server on the store of that address; its folder is of no matter. */
async function served(options, work) {
  const server = await Server.start(options);
  try {
    await work(server);
    await server.stop();
  } finally {
    await server.kill();
  }
}

describe('a copy of the database', sqlite, () => {
  let place;
  before(() => (place = folder()));
  after(() => rmSync(place, { recursive: true, force: true }));

  it('is made while the server runs, and serves in its place', async () => {
    const copy = join(place, 'copy.db');
    let key, late;
    await served({}, async (server) => {
      key = await server.key({ name: 'early' });
      await works(['backup', '--data', join(server.data, 'data'), copy]);
      late = await server.key({ name: 'late' });
      assert.equal((await server.chat(late, short)).status, 200);
    });
    assert.deepEqual(readdirSync(place), ['copy.db']);
    assert.equal(statSync(copy).mode & 0o777, 0o600);
    const data = join(place, 'again');
    mkdirSync(join(data, 'data'), { recursive: true, mode: 0o700 });
    copyFileSync(copy, join(data, 'data', 'moongate.db'));
    await served({ data }, async (server) => {
      assert.equal((await server.chat(key, short)).status, 200);
      assert.equal((await server.chat(late, short)).status, 401);
    });
  });

  it('is not made of what is not there, nor onto the database itself', async () => {
    const data = join(place, 'data');
    const target = join(place, 'none.db');
    await fails(['backup', '--data', data, target], 1, /No such file or directory/);
    assert.ok(!existsSync(target));
    await works(['key', 'create', '--data', data]);
    await fails(['backup', '--data', data, join(data, 'moongate.db')], 1, /is the database itself/);
    await fails(['backup', '--data', data], 2, /needs the name of one file/);
    await fails(['backup', '--date', data, 'x'], 2, /takes no option --date/);
    await works(['key', 'list', '--data', data]);
  });

  it('of PostgreSQL is made by pg_dump, which is told how', async () => {
    const url = 'postgres://me:geheim7@db.example.org:5433/mg?sslmode=require&password=geheim7';
    const said = await fails(['backup', '--store', url, "it's.dump"], 1, /pg_dump/);
    const line = "pg_dump --format=custom --file='it'\\''s.dump'";
    assert.ok(
      said.includes(`${line} --dbname='postgres://me@db.example.org:5433/mg?sslmode=require'`),
      said,
    );
    assert.ok(!said.includes('geheim7'));
  });
});

describe('moving to another database', sqlite, () => {
  let postgres, place;
  before(async () => {
    place = folder();
    postgres = await Postgres.start();
  });
  after(async () => {
    await postgres?.close();
    rmSync(place, { recursive: true, force: true });
  });

  const move = (from, to) => ['store', 'migrate', '--from', from, '--to', to];
  const rows = (url) =>
    works(['key', 'list', '--json', '--store', url]).then(({ stdout }) => JSON.parse(stdout));

  it('takes everything to PostgreSQL and back', async () => {
    const data = join(place, 'first');
    mkdirSync(data);
    const sqlite = `sqlite:${join(data, 'data', 'moongate.db')}`;
    const there = await postgres.fresh();
    const back = `sqlite:${join(place, 'back', 'moongate.db')}`;
    const keys = [];
    await served({ data }, async (server) => {
      for (const name of ['one', 'Zwölf', "it's"]) keys.push(await server.key({ name }));
      for (const key of keys) assert.equal((await server.chat(key, short)).status, 200);
    });
    const said = await works(move(sqlite, there));
    assert.match(said.stderr, /\d+ rows of \d+ tables moved from .* to /);
    const before = await rows(sqlite);
    assert.equal(before.length, 3);
    assert.deepEqual(await rows(there), before);
    const calls = Number(await postgres.sql('SELECT sum(calls) FROM totals', there));
    await served({ set: { 'store.url': there } }, async (server) => {
      assert.equal((await server.chat(keys[1], short)).status, 200);
      assert.equal((await server.chat('mg-none', short)).status, 401);
    });
    await works(['key', 'create', '--store', there, '--name', 'fourth']);
    assert.equal(Number(await postgres.sql('SELECT sum(calls) FROM totals', there)), calls + 1);
    await works(move(there, back));
    for (const url of [sqlite, there, back]) await works(['ledger', 'verify', '--store', url]);
    const moved = await rows(back);
    assert.deepEqual(moved.map((row) => row.id), [1, 2, 3, 4]);
    assert.deepEqual(moved.slice(0, 1), before.slice(0, 1));
  });

  it('refuses a target that is not empty, and leaves both as they are', async () => {
    const from = `sqlite:${join(place, 'from', 'moongate.db')}`;
    const to = await postgres.fresh();
    await works(['key', 'create', '--store', from, '--name', 'mine']);
    await works(['key', 'create', '--store', to, '--name', 'theirs']);
    await fails(move(from, to), 1, /is not empty: table keys has 1 rows/);
    assert.deepEqual((await rows(to)).map((row) => row.name), ['theirs']);
    assert.deepEqual((await rows(from)).map((row) => row.name), ['mine']);
  });

  it('says what is wrong with an address, without its password', async () => {
    const from = `sqlite:${join(place, 'none', 'moongate.db')}`;
    await fails(move(from, await postgres.fresh()), 1, /No such file or directory/);
    const said = await fails(
      move('postgres://me:geheim7@127.0.0.1:1/mg', from),
      1,
      /127\.0\.0\.1:1\/mg: .*Connection refused/,
    );
    assert.ok(!said.includes('geheim7'));
    await fails(move('mysql://me:geheim7@h/d', from), 1, /begins with none of/);
    await fails(['store', 'migrate', '--from', from], 2, /needs --from and --to/);
    await fails(['store', 'migrate', '--form', from], 2, /takes no option --form/);
  });
});
