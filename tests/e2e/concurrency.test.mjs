// Many calls at once: they share the engine, and none changes another's reply.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { finishOf, textOf } from './lib/client.mjs';
import { Raw, head } from './lib/raw.mjs';
import { Server, endless, hello, withServer } from './lib/server.mjs';

describe('concurrency', () => {
  let server, key;
  before(async () => {
    server = await Server.start({ set: { 'engine.sequences': 8 } });
    key = await server.key();
  });
  after(() => server.stop());

  const crowd = (n, maxTokens) =>
    Array.from({ length: n }, (_, i) =>
      server.chat(
        key,
        endless(maxTokens, { logit_bias: { [64 + (i % 20)]: 100 }, stream: i % 2 === 0 }),
      ),
    );

  it('answers twenty calls at once', async () => {
    const answers = await Promise.all(crowd(20, 50));
    for (const answer of answers) {
      assert.equal(answer.status, 200, answer.text);
      assert.equal(textOf(answer).length, 50);
    }
    assert.ok((await server.metric('moongate_engine_sequences_max')) === 8);
  });

  it('runs calls side by side, not one after the other', async () => {
    const streams = await Promise.all(
      Array.from({ length: 4 }, () => server.openChat(key, endless(1500))),
    );
    for (const stream of streams) await stream.until((a) => textOf(a).length > 0);
    assert.ok(streams.some((stream) => stream.complete === undefined));
    for (const stream of streams) assert.equal(finishOf(await stream.end), 'length');
  });

  it('gives a seed its reply, alone and among others', async () => {
    const body = {
      ...hello,
      thinking: { type: 'disabled' },
      temperature: 1.2,
      top_p: 1,
      seed: 11,
      max_tokens: 80,
      logprobs: true,
      top_logprobs: 2,
    };
    const alone = await server.chat(key, body);
    const others = crowd(12, 300);
    const among = await Promise.all([server.chat(key, body), server.chat(key, body)]);
    const streamed = await server.chat(key, { ...body, stream: true });
    for (const answer of among) assert.deepEqual(answer.json.choices, alone.json.choices);
    assert.equal(textOf(streamed), textOf(alone));
    await Promise.all(others);
  });

  it('does not let the many calls of one key starve another', async () => {
    const other = await server.key({ name: 'other' });
    let finished = 0;
    const many = Array.from({ length: 40 }, () =>
      server.chat(key, endless(400)).then((answer) => {
        finished++;
        return answer;
      }),
    );
    await server.untilMetric('moongate_calls_running', (n) => n === 40);
    const short = await server.chat(other, endless(4));
    assert.equal(short.status, 200);
    const before = finished;
    for (const answer of await Promise.all(many)) assert.equal(answer.status, 200);
    assert.ok(before < 40 - 8, `${before} of 40 calls came before the other key's`);
  });

  it('answers beside idle connections and clients that do not read', async () => {
    const idle = await Promise.all(Array.from({ length: 200 }, () => Raw.connect(server.port)));
    const deaf = await Raw.connect(server.port);
    deaf.socket.pause();
    const body = JSON.stringify(
      endless(1900, { n: 5, stream: true, logprobs: true, top_logprobs: 20 }),
    );
    await deaf.send(head('/v1/chat/completions', key, [`Content-Length: ${body.length}`]) + body);
    for (const answer of await Promise.all(crowd(10, 20))) assert.equal(answer.status, 200);
    deaf.destroy();
    for (const raw of idle) raw.destroy();
    await server.untilMetric('moongate_calls_running', (n) => n === 0);
  });
});

describe('a full engine', () => {
  it('refuses with 429 and says when to come again', async () => {
    await withServer({ set: { 'engine.sequences': 1, 'engine.queue': 2 } }, async (server, key) => {
      const answers = await Promise.all(
        Array.from({ length: 12 }, () => server.chat(key, endless(600))),
      );
      const refused = answers.filter((answer) => answer.status === 429);
      assert.ok(answers.some((answer) => answer.status === 200));
      assert.ok(refused.length > 0);
      for (const answer of refused) {
        assert.equal(answer.json.error.code, 'too_many_requests');
        assert.equal(answer.json.error.type, 'engine_overloaded_error');
        assert.ok(Number(answer.headers['retry-after']) >= 1);
        assert.equal(answer.headers['x-should-retry'], 'true');
      }
      assert.equal((await server.chat(key, endless(2))).status, 200);
    });
  });
});
