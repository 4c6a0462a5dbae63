// What a file of tests stands on: a server, perhaps before a scripted upstream, and a browser.
import { after, before } from 'node:test';
import { someone } from '../../e2e/lib/console.mjs';
import { configOf, model } from '../../e2e/lib/gateway.mjs';
import { Server } from '../../e2e/lib/server.mjs';
import { Upstream } from '../../e2e/lib/upstream.mjs';
import { reply } from '../../e2e/lib/dialects.mjs';
import { startChromium } from './chromium.mjs';

export { model };

/** Starts both before the tests of a suite: stage.server and stage.chromium; `prepare` goes on. */
export function stageFor(options, prepare = async () => {}) {
  const stage = {};
  before(async () => {
    const given = typeof options === 'function' ? await options(stage) : options;
    stage.server = await Server.start(given);
    stage.chromium = await startChromium();
    await prepare(stage);
  });
  after(async () => {
    await stage.chromium?.close();
    try {
      await stage.server?.stop();
    } finally {
      await stage.server?.kill();
      await stage.upstream?.close();
    }
  });
  return stage;
}

export const priced = { price_input: 1, price_cached: 1, price_output: 2 };

/** The same with stage.upstream, a scripted one that answers for the model, which has a price. */
export function relayStage(prepare, more = {}) {
  return stageFor(async (stage) => {
    stage.upstream = await Upstream.start(reply());
    const backends = { up: { upstream: stage.upstream } };
    const routing = { tries: 1, failures: 1000 };
    return { config: configOf({ backends, model: priced, routing, ...more }) };
  }, prepare);
}

/** An account that is logged in and has its first key: a Browser with `key` and `secret`. */
export async function equipped(stage, email, options) {
  const browser = await someone(stage.server, email, options);
  const answer = await browser.post('/console/api/acquire');
  [browser.key] = answer.json.credentials;
  browser.secret = browser.key.token;
  return browser;
}
