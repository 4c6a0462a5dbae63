// Prices, balances and the books, as they are seen from outside. A price is in USD for a million
// tokens, so a price of 1 is one micro-USD a token.
import assert from 'node:assert/strict';
import { hello, until } from './server.mjs';

/** The same for every token of a prompt, whether a cache had it or not. */
export const plain = { price_input: 1, price_cached: 1, price_output: 2 };

/** What those tokens cost, in micro-USD: rounded up once. */
export function costOf(usage, price = plain) {
  const cached = usage.cached_tokens ?? 0;
  const scale = (usd) => BigInt(Math.round(usd * 1e6));
  const sum =
    BigInt(usage.prompt_tokens - cached) * scale(price.price_input) +
    BigInt(cached) * scale(price.price_cached) +
    BigInt(usage.completion_tokens) * scale(price.price_output);
  return Number((sum + 999_999n) / 1_000_000n);
}

export const usd = (micros) => (micros / 1e6).toFixed(6);

/** The text of a configuration with the model of `hello` at that price, and a free one. */
export const free = 'kimi-k2.6';
export function pricedConfig(price = plain, more = {}) {
  const models = [
    { id: hello.model, like: hello.model, ...price },
    { id: free, like: free },
  ];
  return JSON.stringify({ log: { format: 'json' }, models, ...more });
}

/** A key that may spend so many micro-USD, and no more than its application has. */
export const keyWith = (server, micros, more = {}) => server.key({ quota: usd(micros), ...more });

/** What a key may still spend, in micro-USD. */
export async function balanceOf(server, key) {
  const answer = await server.call('GET', '/v1/users/me/balance', { key });
  assert.equal(answer.status, 200, answer.text);
  return Math.round(answer.json.data.available_balance * 1e6);
}

/** Waits for a balance: rows of calls that nobody waits for are written soon, not at once. */
export async function untilBalance(server, key, micros) {
  let last;
  const is = async () => (last = await balanceOf(server, key)) === micros;
  await until(is, `the balance to be ${micros}`).catch((error) => {
    throw new Error(`${error.message}, it is ${last}`);
  });
}

export function assertUsedUp(answer) {
  assert.equal(answer.status, 403, answer.text);
  const { error, success, trace_id: trace } = answer.json;
  assert.equal(success, false);
  assert.equal(error.code, 'used_up');
  assert.equal(error.type, 'exceeded_current_quota_error');
  assert.equal(trace, answer.headers['x-trace-id']);
  assert.equal(answer.headers['x-should-retry'], 'false');
  assert.equal(answer.headers['retry-after'], undefined);
}
