// The program is killed under load again and again, at moments that a seed gives. What it leaves
// is looked at after each restart: the books are good, nothing that a client got whole is missing,
// and no hold outlives its deadline.
//
// MOONGATE_TEST_CUTS says how often (30), MOONGATE_TEST_SEED repeats a run.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { balanceOf, keyWith, plain, pricedConfig } from './lib/books.mjs';
import { Told, compare, proof, randomOf, seedOf, startLoad } from './lib/load.mjs';
import { Server, until } from './lib/server.mjs';
import { isReplicated, isShared } from './lib/stores.mjs';

const CUTS = Number(process.env.MOONGATE_TEST_CUTS ?? 30);
const GRANT = 1_000_000_000;

// A hold's deadline is the sum of these from its call's start; swept every five seconds.
const config = pricedConfig(plain, {
  limits: { call_timeout: '2s' },
  routing: { queue_timeout: '1s' },
  quota: { hold_margin: '1s' },
});

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Kills all of the processes, or one of two: the other serves on, and is killed after it. */
async function cut(server, random) {
  const [one, two] = server.processes;
  if (isReplicated && random() < 0.5) {
    (random() < 0.5 ? one : two).kill('SIGKILL');
    await pause(random() * 100);
  }
  server.signal('SIGKILL');
  await server.exit;
}

describe('a power cut', () => {
  it(`leaves the books good, ${CUTS} times at random`, async (t) => {
    const random = randomOf(seedOf(t));
    const told = new Told();
    const server = await Server.start({ config });
    try {
      const keys = [];
      for (let i = 0; i < 3; i++) keys.push(await keyWith(server, GRANT, { name: `key ${i}` }));
      for (let i = 0; i < CUTS; i++) {
        const load = startLoad(server, keys, { workers: 8, random, told });
        await pause(random() * 300);
        await cut(server, random);
        await load.stop();
        await server.spawn();
        const said = await proof(server);
        if (!isShared) assert.equal(said.holds, 0, 'holds of the run before are nobody’s');
        await compare(server, told, plain);
      }
      await until(async () => (await proof(server)).holds === 0, 'the last hold to be given back');
      const rows = [...(await compare(server, told, plain)).values()];
      for (const [i, key] of keys.entries()) {
        const mine = rows.filter((row) => row.key_name === `key ${i}`);
        const charged = mine.reduce((sum, row) => sum + row.charged_micros, 0);
        assert.equal(await balanceOf(server, key), GRANT - charged);
      }
      t.diagnostic(`${told.calls} calls, ${told.whole.size} got whole, ${rows.length} rows`);
      assert.ok(told.whole.size > 0);
      await server.stop();
    } finally {
      await server.kill();
    }
  });
});
