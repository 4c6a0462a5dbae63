// The shapes of the tutorial's samples: their keys, in their order, with their null fields. And
// the description that the program serves is the one that this suite reads.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { description, fitsSchema, splitEvents } from './lib/contract.mjs';
import { Server, endless, hello } from './lib/server.mjs';

const sample = (name) => readFileSync(new URL(`./samples/${name}`, import.meta.url), 'utf8');

/** Holds that `ours` has the keys of `theirs` in the same order; more may stand between. */
function hasKeysOf(ours, theirs, at = '') {
  if (theirs === null || typeof theirs !== 'object') {
    if (theirs === null) assert.equal(ours, null, `${at} is null`);
    else assert.equal(typeof ours, typeof theirs, at);
    return;
  }
  assert.equal(Array.isArray(ours), Array.isArray(theirs), at);
  if (Array.isArray(theirs)) {
    assert.equal(ours.length === 0, theirs.length === 0, at);
    theirs.slice(0, 1).forEach((item) => hasKeysOf(ours[0], item, `${at}[0]`));
    return;
  }
  const shared = Object.keys(ours).filter((key) => key in theirs);
  assert.deepEqual(shared, Object.keys(theirs), `the keys of ${at || 'the body'}`);
  for (const key of shared) hasKeysOf(ours[key], theirs[key], `${at}.${key}`);
}

describe('contract', () => {
  let server, key;
  before(async () => {
    server = await Server.start();
    key = await server.key();
  });
  after(() => server.stop());

  it('has the sample of a whole reply', async () => {
    const answer = await server.chat(key, endless(9, { thinking: { type: 'enabled' } }), {
      path: '/kimi/chat/completions',
    });
    hasKeysOf(answer.json, JSON.parse(sample('reply.json')));
    const more = Object.keys(answer.json).filter((k) => !(k in JSON.parse(sample('reply.json'))));
    assert.deepEqual(more, ['system_fingerprint']);
    assert.equal(Object.keys(answer.json).at(-1), 'system_fingerprint');
    assert.match(answer.headers['content-type'], /^application\/json; charset=utf-8$/);
  });

  it('has the sample of a stream', async () => {
    const answer = await server.chat(
      key,
      { ...hello, stream: true },
      { path: '/kimi/chat/completions' },
    );
    const theirs = splitEvents(sample('stream.sse'));
    assert.equal(theirs.at(-1), '[DONE]');
    const kind = (chunk) => Object.keys(chunk.choices[0]?.delta ?? {}).join();
    for (const event of theirs.slice(0, -1).map((e) => JSON.parse(e))) {
      // The fingerprint is null there; here it names the model.
      event.system_fingerprint = '';
      const same = answer.chunks.filter(
        (chunk) => kind(chunk) === kind(event) && Boolean(chunk.usage) === Boolean(event.usage),
      );
      for (const chunk of same) {
        // The sample ends with a delta that has text and the reason; here the reason comes alone.
        if (event.choices[0]) event.choices[0].finish_reason = null;
        hasKeysOf(chunk, event);
      }
    }
    const first = answer.text.slice(0, answer.text.indexOf('\n'));
    assert.match(
      first,
      /"delta":\{"content":"","role":"assistant"\},"logprobs":null,"finish_reason":null/,
    );
    assert.ok(answer.chunks.at(-1).usage, 'usage comes last');
    assert.deepEqual(answer.chunks.at(-1).choices, []);
  });

  it('has the sample of an error', async () => {
    const answer = await server.call('GET', '/nowhere');
    hasKeysOf(answer.json, JSON.parse(sample('error.json')));
    assert.deepEqual(Object.keys(answer.json.error), ['code', 'message', 'type', 'param']);
  });

  it('has every spelling of usage that clients read', async () => {
    const { usage } = (await server.chat(key, endless(3))).json;
    assert.deepEqual(Object.keys(usage), [
      'prompt_tokens',
      'completion_tokens',
      'total_tokens',
      'cached_tokens',
      'prompt_tokens_details',
      'completion_tokens_details',
    ]);
    assert.deepEqual(Object.keys(usage.prompt_tokens_details), [
      'cached_tokens',
      'cached_tokens_details',
    ]);
    assert.deepEqual(usage.prompt_tokens_details.cached_tokens_details, {});
  });

  it('serves the description that this suite reads', async () => {
    const { json } = await server.call('GET', '/openapi.json');
    assert.deepEqual(json, description);
  });

  it('answers every route of the description', async () => {
    for (const [path, item] of Object.entries(description.paths)) {
      for (const method of Object.keys(item)) {
        const body = ['post', 'patch', 'put'].includes(method) ? hello : undefined;
        const one = path.replaceAll(/\{\w+\}/g, '1');
        const answer = await server.call(method.toUpperCase(), one, { key, body });
        assert.notEqual(answer.status, 404, path);
        assert.notEqual(answer.status, 405, path);
      }
    }
  });

  it("fits the description's own examples", () => {
    for (const [name, { value }] of Object.entries(
      description.components.requestBodies.Chat.content['application/json'].examples,
    )) {
      fitsSchema('ChatRequest', value, name);
    }
    const media = description.components.responses.Chat.content;
    fitsSchema('ChatCompletion', media['application/json'].examples.hello.value);
    for (const event of splitEvents(media['text/event-stream'].examples.hello.value)) {
      if (event !== '[DONE]') fitsSchema('ChatChunk', JSON.parse(event));
    }
    for (const response of Object.values(description.components.responses)) {
      const { examples = {} } = response.content['application/json'] ?? {};
      for (const { value } of Object.values(examples))
        if ('error' in value) fitsSchema('Error', value);
    }
  });

  it("answers the description's examples", async () => {
    const { examples } = description.components.requestBodies.Chat.content['application/json'];
    for (const { value } of Object.values(examples)) {
      const answer = await server.chat(key, value, { path: '/kimi/chat/completions' });
      assert.equal(answer.status, 200, answer.text);
    }
  });

  it('serves metrics that Prometheus reads', async () => {
    const { text, headers } = await server.call('GET', '/metrics');
    assert.match(headers['content-type'], /^text\/plain; version=0\.0\.4/);
    for (const line of text.trimEnd().split('\n')) {
      assert.match(line, /^(# (HELP|TYPE) \w+ .+|\w+(\{\w+="[^"]*"(,\w+="[^"]*")*\})? [\d.e+-]+)$/);
    }
  });
});
