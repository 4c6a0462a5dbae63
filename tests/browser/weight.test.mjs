// What the playground costs a newcomer's browser: bytes are asserted, times are only told.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { visit } from './lib/chromium.mjs';
import { stageFor } from './lib/stage.mjs';

const SCRIPT_BYTES = 200_000;

/** What came over the wire while `work` ran, by the browser's own count. */
async function transferred(page, work) {
  const session = await page.context().newCDPSession(page);
  const known = new Map();
  await session.send('Network.enable');
  session.on('Network.responseReceived', ({ requestId, type, response }) =>
    known.set(requestId, {
      type,
      url: response.url,
      encoding: response.headers['content-encoding'] ?? '',
    }),
  );
  session.on('Network.loadingFinished', ({ requestId, encodedDataLength }) =>
    Object.assign(known.get(requestId) ?? {}, { bytes: encodedDataLength }),
  );
  await work();
  return [...known.values()];
}

const sum = (list) => list.reduce((bytes, one) => bytes + (one.bytes ?? 0), 0);

describe('the weight of the console', () => {
  const stage = stageFor({});

  it(
    'the playground has less than 200 KB of compressed script, the code beside it included',
    visit(stage, {}, async (page, person) => {
      const all = await transferred(page, async () => {
        await page.goto('/');
        await page.locator('#code-panel-curl').waitFor();
        await person.quiet();
      });
      const scripts = all.filter((one) => one.type === 'Script');
      assert.ok(scripts.length > 0);
      for (const one of scripts) assert.match(one.encoding, /^(gzip|br|zstd)$/, one.url);
      assert.ok(sum(scripts) < SCRIPT_BYTES, `${sum(scripts)} bytes of script`);
      const paint = await page.evaluate(
        () => performance.getEntriesByName('first-contentful-paint')[0]?.startTime,
      );
      console.log(
        `playground: ${sum(scripts)} bytes of script, ${sum(all)} in all, ` +
          `first contentful paint after ${Math.round(paint)} ms`,
      );
    }),
  );

  it(
    'files with hashed names come from the cache the second time, and the policy is strict',
    visit(stage, {}, async (page, person) => {
      const answer = await page.goto('/');
      const policy = await answer.headerValue('content-security-policy');
      assert.ok(!/unsafe|\*|https?:/.test(policy), policy);
      assert.match(policy, /frame-ancestors 'none'/);
      await person.quiet();
      const asked = [];
      page.on('request', (request) => asked.push(request));
      await page.goto('/start');
      await page.goto('/');
      await person.quiet();
      for (const request of asked.filter((r) => r.url().includes('/assets/'))) {
        const response = await request.response();
        if (!response) continue;
        assert.match(await response.headerValue('cache-control'), /immutable/, request.url());
      }
    }),
  );

  it(
    'the API reference shows this description without asking anybody else',
    visit(stage, {}, async (page, person) => {
      const all = await transferred(page, async () => {
        await page.goto('/docs');
        await page
          .getByRole('heading', { name: /moongate|Kimi/i })
          .first()
          .waitFor();
        await person.quiet();
      });
      await page.getByText('/kimi/chat/completions').first().waitFor();
      console.log(`/docs: ${sum(all)} bytes in all`);
    }),
  );
});
