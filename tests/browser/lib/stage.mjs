// What a file of tests stands on: a server with its scripted upstreams, and a browser.
import { after, before } from 'node:test';
import { Server } from '../../e2e/lib/server.mjs';
import { startChromium } from './chromium.mjs';

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
