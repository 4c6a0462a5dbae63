// A load of calls of all kinds that goes on while the program dies under it, and the proof
// afterwards: whatever a client got whole stands in the books, once, at its price.
import assert from 'node:assert/strict';
import { costOf } from './books.mjs';
import { endless } from './server.mjs';

/** Numbers between 0 and 1 that a seed gives again: mulberry32. */
export function randomOf(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** A seed that is printed, so that a failure can be had again: MOONGATE_TEST_SEED=... */
export function seedOf(t) {
  const seed = Number(process.env.MOONGATE_TEST_SEED ?? Math.floor(Math.random() * 2 ** 32));
  t.diagnostic(`MOONGATE_TEST_SEED=${seed}`);
  return seed;
}

/** What clients were told: of each call its trace id, and what it must have cost. */
export class Told {
  constructor() {
    this.whole = new Map(); // trace id: usage
    this.failed = new Set(); // trace ids of plain refusals
    this.calls = 0;
  }

  note(answer) {
    const trace = answer.headers['x-trace-id'];
    this.calls++;
    if (!answer.complete) return;
    if (answer.status !== 200) this.failed.add(trace);
    else if (answer.headers['content-type'].startsWith('application/json'))
      this.whole.set(trace, answer.json.usage);
    else if (answer.events.at(-1) === '[DONE]')
      this.whole.set(trace, answer.chunks.find((chunk) => chunk.usage)?.usage);
  }
}

const kimi = '/kimi/chat/completions'; // its streams end with their usage

async function oneCall(server, key, random, told) {
  const kind = random();
  const body = endless(1 + Math.floor(random() * 12));
  try {
    if (kind < 0.4) return told.note(await server.chat(key, body));
    const stream = await server.openChat(key, body, { path: kimi });
    if (kind > 0.85 && stream.status === 200) {
      await stream.until((a) => a.chunks.length > 1);
      return told.note(await stream.abort());
    }
    return told.note(await stream.end);
  } catch (error) {
    // The connection broke, as it should: the server was killed.
    if (error instanceof assert.AssertionError) throw error;
  }
}

/** `workers` clients, each with one call after the other until stop(). */
export function startLoad(server, keys, { workers, random, told }) {
  let over = false;
  const work = async () => {
    while (!over) {
      await oneCall(server, keys[Math.floor(random() * keys.length)], random, told);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const all = Promise.all(Array.from({ length: workers }, work));
  all.catch(() => {});
  return {
    stop() {
      over = true;
      return all;
    },
  };
}

/** `moongate ledger verify`: what it says; it must be good. */
export async function proof(server) {
  const { code, stdout, stderr } = await server.command('ledger', 'verify', '--json');
  assert.equal(code, 0, `ledger verify:\n${stdout}${stderr}`);
  const said = JSON.parse(stdout);
  assert.equal(said.ok, true, stdout);
  assert.deepEqual(said.wrong, []);
  return said;
}

/** The rows of the books, by trace id. */
export async function rowsOf(server) {
  const { code, stdout, stderr } = await server.command('ledger', 'export', '--format', 'jsonl');
  assert.equal(code, 0, stderr);
  const rows = new Map();
  for (const line of stdout.split('\n').filter(Boolean)) {
    const row = JSON.parse(line);
    assert.ok(!rows.has(row.trace_id), `${row.trace_id} stands twice`);
    rows.set(row.trace_id, row);
  }
  return rows;
}

/**
 * Holds what clients were told against the books. unsure: a reply that was told as failed may be
 * in them all the same, at its price.
 */
export async function compare(server, told, price, { unsure = false } = {}) {
  const rows = await rowsOf(server);
  for (const [trace, usage] of told.whole) {
    const row = rows.get(trace);
    assert.ok(row, `${trace} was got whole and is missing`);
    assert.equal(row.status, 200, JSON.stringify(row));
    assert.equal(row.client_gone, false);
    if (!usage) continue;
    assert.equal(row.prompt_tokens, usage.prompt_tokens, JSON.stringify([row, usage]));
    assert.equal(row.completion_tokens, usage.completion_tokens);
    assert.equal(row.charged_micros, costOf(usage, price), JSON.stringify(row));
  }
  for (const trace of told.failed) {
    const row = rows.get(trace);
    if (unsure && row?.status === 200) assert.equal(row.charged_micros, costOf(row, price));
    else assert.equal(row?.charged_micros ?? 0, 0, `${trace} failed and was charged`);
  }
  return rows;
}
