// Which backend is asked: weights, priorities, the same conversation to the same backend, and
// from the engine of this process to an upstream under one name.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { textOf } from './lib/client.mjs';
import { refuse, reply } from './lib/dialects.mjs';
import { callLine, withGateway, withUpstreams } from './lib/gateway.mjs';
import { endless, hello, until } from './lib/server.mjs';

const ask = (text, turns = []) => ({
  ...hello,
  messages: [{ role: 'user', content: text }, ...turns],
});
const turn = (n) => [
  { role: 'assistant', content: `Answer ${n}` },
  { role: 'user', content: `And then ${n}?` },
];

describe('routing', () => {
  it('shares calls by weight', async () => {
    await withUpstreams([reply(), reply()], async (heavy, light) => {
      const routes = [
        { name: 'heavy', weight: 3 },
        { name: 'light', weight: 1 },
      ];
      const options = { backends: { heavy, light }, routes, routing: { affinity: false } };
      await withGateway(options, async (server, key) => {
        for (let i = 0; i < 20; i++) {
          await Promise.all(Array.from({ length: 10 }, () => server.chat(key, hello)));
        }
        assert.equal(heavy.requests.length + light.requests.length, 200);
        const share = heavy.requests.length / 200;
        assert.ok(share > 0.6 && share < 0.9, `the heavy one got ${share}`); // 5 deviations
      });
    });
  });

  it('asks the first priority while it can', async () => {
    await withUpstreams([reply(), reply()], async (first, second) => {
      const routes = [
        { name: 'second', priority: 2, weight: 100 },
        { name: 'first', priority: 1 },
      ];
      await withGateway({ backends: { first, second }, routes }, async (server, key) => {
        for (let i = 0; i < 10; i++) await server.chat(key, ask(`Question ${i}`));
        assert.equal(first.requests.length, 10);
        assert.equal(second.requests.length, 0);
      });
    });
  });

  it('goes on to the next priority when the first is full', async () => {
    await withUpstreams([(request, wire) => wire.stall(), reply()], async (first, second) => {
      const backends = { first: { upstream: first, concurrency: 2 }, second };
      const routes = [
        { name: 'first', priority: 1 },
        { name: 'second', priority: 2 },
      ];
      await withGateway({ backends, routes }, async (server, key) => {
        const held = [0, 1].map(() => server.openChat(key, hello).catch(() => {}));
        await first.asked(2);
        for (let i = 0; i < 4; i++) {
          const answer = await server.chat(key, hello);
          assert.equal((await callLine(server, answer)).backend, 'second');
        }
        assert.equal(first.requests.length, 2);
        for (const { connection } of first.requests) connection.socket.destroy();
        await Promise.all(held);
      });
    });
  });

  it('sends a conversation where it was, and another one anywhere', async () => {
    await withUpstreams([reply(), reply(), reply()], async (...all) => {
      const backends = Object.fromEntries(all.map((u, i) => [`b${i}`, u]));
      await withGateway({ backends }, async (server, key) => {
        const used = new Set();
        for (let talk = 0; talk < 24; talk++) {
          const places = new Set();
          const turns = [];
          for (let n = 0; n < 4; n++) {
            const answer = await server.chat(key, ask(`Conversation ${talk}`, turns));
            places.add((await callLine(server, answer)).backend);
            turns.push(...turn(n));
          }
          assert.equal(places.size, 1, `conversation ${talk} was at ${[...places]}`);
          used.add([...places][0]);
        }
        assert.equal(used.size, 3, 'all are used');
      });
    });
  });

  it('moves only the conversations of a backend that is down', async () => {
    await withUpstreams([reply(), reply(), reply()], async (...all) => {
      const backends = Object.fromEntries(all.map((u, i) => [`b${i}`, u]));
      const routing = { failures: 1, open: '60s', tries: 2 };
      await withGateway({ backends, routing }, async (server, key) => {
        const place = async (talk) => {
          const answer = await server.chat(key, ask(`Conversation ${talk}`));
          assert.equal(answer.status, 200, answer.text);
          return (await callLine(server, answer)).backend;
        };
        const talks = Array.from({ length: 18 }, (_, i) => i);
        const earlier = [];
        for (const talk of talks) earlier.push(await place(talk));
        all[1].play(refuse(500));
        for (const talk of talks) {
          const now = await place(talk);
          if (earlier[talk] === 'b1') assert.notEqual(now, 'b1');
          else assert.equal(now, earlier[talk], `conversation ${talk}`);
        }
      });
    });
  });

  it('does not crowd one backend with one beginning', async () => {
    const hold = (request, wire) => wire.stall();
    await withUpstreams([hold, hold], async (...all) => {
      const backends = Object.fromEntries(all.map((u, i) => [`b${i}`, u]));
      await withGateway({ backends }, async (server, key) => {
        const controller = new AbortController();
        const { signal } = controller;
        const calls = Array.from({ length: 20 }, () =>
          server.chat(key, hello, { signal }).catch(() => {}),
        );
        const count = () => all.map((u) => u.requests.length);
        await until(() => count()[0] + count()[1] === 20, 'all calls');
        assert.ok(Math.min(...count()) >= 5, `they were shared as ${count()}`);
        controller.abort();
        await Promise.all(calls);
      });
    });
  });

  it('gives the name that each backend knows', async () => {
    await withUpstreams([reply(), reply()], async (a, b) => {
      const routes = [
        { name: 'a', model: 'name-at-a' },
        { name: 'b', model: 'name-at-b' },
      ];
      const options = { backends: { a, b }, routes, routing: { affinity: false } };
      await withGateway(options, async (server, key) => {
        while (a.requests.length === 0 || b.requests.length === 0) await server.chat(key, hello);
        for (const { body } of a.requests) assert.equal(body.model, 'name-at-a');
        for (const { body } of b.requests) assert.equal(body.model, 'name-at-b');
      });
    });
  });
});

describe('the engine and an upstream under one name', () => {
  const routes = [
    { name: 'local', priority: 1 },
    { name: 'up', priority: 2 },
  ];

  it('go over from the one to the other when the engine is full', async () => {
    await withUpstreams([reply()], async (up) => {
      const options = {
        backends: { local: 'local', up },
        routes,
        engine: { sequences: 1, queue: 1 },
      };
      await withGateway(options, async (server, key) => {
        const busy = await server.openChat(key, endless(1900));
        await busy.until((a) => textOf(a).length > 0);
        const waiting = server.chat(key, endless(3));
        await server.untilMetric('moongate_engine_jobs_waiting', (n) => n === 1);
        const over = await server.chat(key, endless(3));
        assert.equal(textOf(over), 'Hello there');
        assert.equal((await callLine(server, over)).backend, 'up');
        await busy.end;
        const local = await waiting;
        assert.equal(textOf(local).length, 3);
        const line = await callLine(server, local);
        assert.deepEqual([line.backend, line.usage], ['local', 'engine']);
        assert.equal(textOf(await server.chat(key, endless(5))).length, 5, 'and back again');
        assert.equal(up.requests.length, 1);
      });
    });
  });

  it('share by what they can do: tools go to the upstream', async () => {
    await withUpstreams([reply()], async (up) => {
      await withGateway({ backends: { local: 'local', up }, routes }, async (server, key) => {
        const tools = [{ type: 'function', function: { name: 'f', parameters: {} } }];
        const answer = await server.chat(key, { ...hello, tools });
        assert.equal(answer.status, 200, answer.text);
        assert.equal((await callLine(server, answer)).backend, 'up');
        assert.equal(textOf(await server.chat(key, endless(2))).length, 2);
        assert.equal(up.requests.length, 1);
      });
    });
  });

  it('count the tokens of a prompt here', async () => {
    await withUpstreams([reply()], async (up) => {
      await withGateway({ backends: { local: 'local', up }, routes }, async (server, key) => {
        const path = '/v1/tokenizers/estimate-token-count';
        const answer = await server.call('POST', path, { key, body: hello });
        assert.equal(answer.status, 200, answer.text);
        assert.ok(answer.json.data.total_tokens > 0);
        assert.equal(up.requests.length, 0);
      });
    });
  });
});
