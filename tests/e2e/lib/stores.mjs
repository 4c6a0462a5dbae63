// The store that the suite runs on, by MOONGATE_TEST_STORE: `sqlite`, `postgres`, or `replicas`
// (two processes that share a PostgreSQL). tools/e2e.sh starts the PostgreSQL and names its folder
// in MOONGATE_TEST_POSTGRES; each data folder of a test has a database of its own there, which the
// program is told of by its environment.
//
// As a program it lists the files of the suite that are for a store: node lib/stores.mjs replicas
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const store = process.env.MOONGATE_TEST_STORE ?? 'sqlite';
assert.match(store, /^(sqlite|postgres|replicas)$/, 'MOONGATE_TEST_STORE');

export const isShared = store !== 'sqlite';
export const isReplicated = store === 'replicas';

// Files that look at one process, so that a second one behind the same address would make them
// say something else. The rest must hold whatever process answers.
const ofOneProcess = {
  'concurrency.test.mjs': 'the batch, the queue and the fairness of one engine',
  'docs.test.mjs': 'what is written, not what answers',
  'lifecycle.test.mjs': 'starting, reloading and stopping of a process',
  'lockout.test.mjs': 'tries at a log-in are counted by a process',
  'upstream-backpressure.test.mjs': "a process' memory; the balancer has buffers of its own",
  'upstream-metrics.test.mjs': "a process' own counters",
  'upstream-queue.test.mjs': 'a queue is of a process',
  'upstream-reload.test.mjs': 'calls that began before and after a reload of one process',
  'upstream-retry.test.mjs': 'circuits are of a process',
  'upstream-routing.test.mjs': 'shares and affinity are counted by a process',
};

// The same of single tests, in files of which the rest is for any store: they count connections or
// places in a queue of one process, or fill the buffers between it and its client.
export const alone = { skip: isReplicated && 'looks at one process' };

/** The test files of the suite for that store. */
export function filesFor(kind) {
  return readdirSync(new URL('..', import.meta.url))
    .filter((name) => name.endsWith('.test.mjs') && !(kind === 'replicas' && name in ofOneProcess))
    .sort();
}

const databases = new Map(); // of data folders

/** Runs SQL on a database of a cluster, by the folder of its socket; gives the lines. */
export function sql(text, database = 'postgres', cluster = process.env.MOONGATE_TEST_POSTGRES) {
  const args = ['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1'];
  args.push('-h', cluster, '-U', 'moongate', '-d', database, '-c', text);
  return new Promise((resolve, reject) => {
    execFile('psql', args, { encoding: 'utf8' }, (error, stdout, stderr) =>
      error ? reject(new Error(`psql: ${stderr}`)) : resolve(stdout.trim().split('\n')),
    );
  });
}

export const addressOf = (database, cluster = process.env.MOONGATE_TEST_POSTGRES) =>
  `postgres://moongate@/${database}?host=${encodeURIComponent(cluster)}`;

/** The name of the database that belongs to a data folder, made if it is new; null for SQLite. */
export async function databaseOf(data) {
  if (!isShared) return null;
  assert.ok(process.env.MOONGATE_TEST_POSTGRES, 'tools/e2e.sh starts the PostgreSQL');
  if (!databases.has(data)) {
    const name = `test_${randomBytes(6).toString('hex')}`;
    databases.set(data, name);
    await sql(`CREATE DATABASE ${name}`);
  }
  return databases.get(data);
}

/** What the program's environment says of the store of a data folder. */
export async function environmentOf(data) {
  const database = await databaseOf(data);
  return database ? { MOONGATE_STORE_URL: addressOf(database) } : {};
}

/** All that the store of a data folder holds: [what, bytes]. */
export async function contentOf(data) {
  const database = await databaseOf(data);
  if (!database) {
    const files = readdirSync(join(data, 'data'));
    return files.map((name) => [name, readFileSync(join(data, 'data', name))]);
  }
  const args = ['-h', process.env.MOONGATE_TEST_POSTGRES, '-U', 'moongate', database];
  return new Promise((resolve, reject) => {
    execFile('pg_dump', args, { maxBuffer: 2 ** 28 }, (error, stdout) =>
      error ? reject(error) : resolve([['dump', Buffer.from(stdout)]]),
    );
  });
}

/** The folder is not used any more. */
export async function forget(data) {
  const name = databases.get(data);
  databases.delete(data);
  if (name) await sql(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const name of filesFor(process.argv[2] ?? store)) console.log(name);
}
