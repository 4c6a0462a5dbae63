// The second try, and what failures do to the health of a backend.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { finishOf, textOf } from './lib/client.mjs';
import { begin, chunksOf, openaiError, refuse, reply } from './lib/dialects.mjs';
import { callLine, logLines, withGateway, withUpstreams } from './lib/gateway.mjs';
import { hello, until } from './lib/server.mjs';
import { deadPort } from './lib/upstream.mjs';

const inOrder = [
  { name: 'first', priority: 1 },
  { name: 'second', priority: 2 },
];
const two = (first, second, more = {}) => ({
  backends: { first, second },
  routes: inOrder,
  ...more,
});
const roles = (answer) => answer.chunks.flatMap((c) => c.choices).filter((c) => c.delta.role);

describe('a second try', () => {
  const failures = {
    'a 500': refuse(500, openaiError('boom')),
    'a 429': refuse(429, openaiError('slow down')),
    'a 503': refuse(503, 'down'),
    'a 401': refuse(401, openaiError('who are you?')),
    'a 404': refuse(404, openaiError('no such model')),
    'a reset': (request, wire) => wire.reset(),
    'a page': refuse(200, '<html></html>'),
    'an error with 200': refuse(200, openaiError('lost')),
    silence: (request, wire) => wire.stall(),
  };
  for (const [what, script] of Object.entries(failures)) {
    it(`goes elsewhere after ${what}`, async () => {
      await withUpstreams([script, reply()], async (first, second) => {
        const quick = { upstream: first, first_byte_timeout: '300ms', total_timeout: '600ms' };
        await withGateway(two(quick, second), async (server, key) => {
          const answer = await server.chat(key, { ...hello, stream: true });
          assert.equal(textOf(answer), 'Hello there');
          assert.equal(roles(answer).length, 1);
          const line = await callLine(server, answer);
          assert.deepEqual([line.backend, line.tries, line.end], ['second', 2, 'ok']);
          assert.ok(first.requests.length === 1 && second.requests.length === 1);
          const ids = [first, second].map((u) => u.requests[0].headers['x-request-id']);
          assert.deepEqual(ids, Array(2).fill(answer.headers['x-trace-id']));
        });
      });
    });
  }

  it('goes elsewhere after a refused connection, also for a whole reply', async () => {
    const port = await deadPort();
    await withUpstreams([reply()], async (second) => {
      const gone = { url: `http://127.0.0.1:${port}` };
      await withGateway(two(gone, second), async (server, key) => {
        for (const stream of [false, true]) {
          const answer = await server.chat(key, { ...hello, stream });
          assert.equal(textOf(answer), 'Hello there');
        }
      });
    });
  });

  it('is not for a lone backend that does not know the model, which others go on with', async () => {
    const script = (request, wire) =>
      request.body.model === 'wrong'
        ? refuse(404, openaiError('no such model'))(request, wire)
        : reply()(request, wire);
    await withUpstreams([script], async (up) => {
      const options = {
        backends: { up },
        models: [
          { id: hello.model, backends: [{ name: 'up' }] },
          { id: 'misnamed', backends: [{ name: 'up', model: 'wrong' }] },
        ],
        routing: { failures: 2, open: '1h', open_max: '1h' },
      };
      await withGateway(options, async (server, key) => {
        for (let i = 1; i <= 5; i++) {
          const answer = await server.chat(key, { ...hello, model: 'misnamed' });
          assert.equal(answer.status, 502);
          assert.equal(up.requests.length, i, 'asked once a call');
        }
        assert.equal(textOf(await server.chat(key, hello)), 'Hello there');
      });
    });
  });

  it('comes after a role, an empty text and an error, but shows one role', async () => {
    const [role] = chunksOf();
    const script = async (request, wire) => {
      wire.head();
      await wire.event(role);
      await wire.chunk(': ping\n\n');
      await wire.event({ ...role, choices: [{ index: 0, delta: { content: '' } }] });
      wire.reset();
    };
    await withUpstreams([script, reply()], async (first, second) => {
      await withGateway(two(first, second), async (server, key) => {
        const answer = await server.chat(key, { ...hello, stream: true });
        assert.equal(textOf(answer), 'Hello there');
        assert.equal(roles(answer).length, 1);
        assert.equal(finishOf(answer), 'stop');
      });
    });
  });

  it('comes also to a stream whose head went out with a comment', async () => {
    await withUpstreams([(request, wire) => wire.stall(), reply()], async (first, second) => {
      const slow = { upstream: first, first_byte_timeout: '500ms' };
      const more = { limits: { keep_alive: '100ms' } };
      await withGateway(two(slow, second, more), async (server, key) => {
        const answer = await server.chat(key, { ...hello, stream: true });
        assert.match(answer.text, /^: /);
        assert.equal(textOf(answer), 'Hello there');
        assert.equal(roles(answer).length, 1);
      });
    });
  });

  it('never comes after the first text, reasoning or tool call', async () => {
    const tools = [
      [{ index: 0, id: 'a', type: 'function', function: { name: 'f', arguments: '' } }],
    ];
    const beginnings = [{ content: ['Once'] }, { reasoning: ['So'] }, { content: [], tools }];
    const script = (said) => begin((request, wire) => wire.reset(), said);
    await withUpstreams([beginnings.map(script), reply()], async (first, second) => {
      await withGateway(two(first, second), async (server, key) => {
        for (const _ of beginnings) {
          const answer = await server.chat(key, { ...hello, stream: true });
          assert.equal(answer.chunks.at(-1).error.code, 'api_error');
        }
        assert.ok(first.requests.length === 3 && second.requests.length === 0);
      });
    });
  });

  it('never comes after a mistake of the request', async () => {
    const statuses = [400, 413, 422];
    const script = statuses.flatMap((s) => [
      refuse(s, openaiError('no')),
      refuse(s, openaiError('no')),
    ]);
    await withUpstreams([script, reply()], async (first, second) => {
      await withGateway(two(first, second), async (server, key) => {
        for (const status of statuses) {
          for (const stream of [false, true]) {
            const answer = await server.chat(key, { ...hello, stream });
            assert.equal(answer.status, status === 422 ? 400 : status);
          }
        }
        assert.equal(second.requests.length, 0);
      });
    });
  });

  it('is one of few', async () => {
    const broken = refuse(500, openaiError('boom'));
    await withUpstreams([broken, broken, broken, broken], async (...all) => {
      const backends = Object.fromEntries(all.map((u, i) => [`b${i}`, u]));
      await withGateway({ backends, routing: { tries: 3 } }, async (server, key) => {
        const answer = await server.chat(key, hello);
        assert.equal(answer.status, 502);
        assert.equal(
          all.reduce((n, u) => n + u.requests.length, 0),
          3,
        );
        assert.ok(
          all.every((u) => u.requests.length <= 1),
          'elsewhere each time',
        );
        assert.equal((await callLine(server, answer)).tries, 3);
      });
    });
  });
});

describe('the health of a backend', () => {
  const notes = (server) =>
    logLines(server)
      .filter((line) => line.event === 'backend')
      .map((line) => line.text);

  it('opens its circuit after failures in a row, and closes it after a good trial', async () => {
    await withUpstreams([refuse(500, openaiError('boom')), reply()], async (first, second) => {
      const routing = { tries: 2, failures: 3, open: '300ms', open_max: '600ms' };
      await withGateway(two(first, second, { routing }), async (server, key) => {
        const good = async () => assert.equal((await server.chat(key, hello)).status, 200);
        for (let i = 0; i < 3; i++) await good();
        assert.equal(first.requests.length, 3);
        assert.ok(notes(server).some((text) => text.startsWith('first: open')));
        first.play(reply());
        await until(async () => {
          await good();
          return notes(server).some((text) => text.startsWith('first: closed'));
        }, 'the circuit to close');
        assert.ok(notes(server).some((text) => text.startsWith('first: trial')));
        const asked = first.requests.length;
        await good();
        assert.equal(first.requests.length, asked + 1, 'it is first again');
      });
    });
  });

  it('asks an open circuit nothing, and lets one call be the trial', async () => {
    let waiting = 0;
    const slow = async (request, wire) => {
      waiting++;
      return wire.stall();
    };
    await withUpstreams([refuse(500, openaiError('boom')), reply()], async (first, second) => {
      const routing = { tries: 2, failures: 1, open: '400ms', open_max: '400ms' };
      const up = { upstream: first, total_timeout: '1s' };
      await withGateway(two(up, second, { routing }), async (server, key) => {
        await server.chat(key, hello);
        assert.equal(first.requests.length, 1);
        first.play(slow);
        const crowd = [];
        await until(async () => {
          const call = server.chat(key, hello);
          crowd.push(call);
          await Promise.race([call, first.until((u) => u.requests.length > 1)]);
          return waiting > 0;
        }, 'a trial');
        for (let i = 0; i < 10; i++) crowd.push(server.chat(key, hello));
        for (const answer of await Promise.all(crowd)) assert.equal(answer.status, 200);
        assert.ok(first.requests.length <= 3, `${first.requests.length} calls went there`);
      });
    });
  });

  it('is not hurt by mistakes of requests', async () => {
    const script = [...Array(6).fill(refuse(400, openaiError('no'))), reply()];
    await withUpstreams([script], async (first) => {
      const routing = { tries: 1, failures: 2 };
      await withGateway({ backends: { first }, routing }, async (server, key) => {
        for (let i = 0; i < 6; i++) assert.equal((await server.chat(key, hello)).status, 400);
        assert.equal((await server.chat(key, hello)).status, 200);
      });
    });
  });

  it('is told by 503 with Retry-After where nobody is left', async () => {
    await withUpstreams([refuse(500, openaiError('boom'))], async (first) => {
      const routing = { tries: 1, failures: 1, open: '60s', queue_timeout: '200ms' };
      await withGateway({ backends: { first }, routing }, async (server, key) => {
        assert.equal((await server.chat(key, hello)).status, 502);
        for (const stream of [false, true]) {
          const answer = await server.chat(key, { ...hello, stream });
          assert.equal(answer.status, 503, answer.text);
          assert.equal(answer.json.error.code, 'api_error');
          assert.ok(Number(answer.headers['retry-after']) >= 1);
        }
        assert.equal(first.requests.length, 1);
      });
    });
  });

  it('gives a backend the rest that it asks for', async () => {
    const script = [refuse(429, openaiError('later'), { 'retry-after': '1' }), reply()];
    await withUpstreams([script, reply()], async (first, second) => {
      await withGateway(two(first, second), async (server, key) => {
        const rested = performance.now();
        await until(async () => {
          assert.equal((await server.chat(key, hello)).status, 200);
          return first.requests.length === 2;
        }, 'the end of the rest');
        assert.ok(performance.now() - rested >= 900, 'it was not asked before');
        assert.ok(second.requests.length >= 2);
        assert.ok(notes(server).some((text) => text.startsWith('first: resting')));
      });
    });
  });

  it('is asked for by a probe only where that is configured', async () => {
    const models = (request, wire) => wire.whole(200, { object: 'list', data: [] });
    const script = (request, wire) =>
      (request.method === 'GET' ? models : refuse(500, openaiError('boom')))(request, wire);
    await withUpstreams([script], async (first) => {
      const routing = { tries: 1, failures: 1, open: '60s', probe: '1s' };
      const up = { upstream: first, prefix: '/api/v1' };
      await withGateway({ backends: { first: up }, routing }, async (server, key) => {
        assert.equal((await server.chat(key, hello)).status, 502);
        await first.until((u) => u.requests.length === 2, 'the probe');
        const [, probe] = first.requests;
        assert.equal(`${probe.method} ${probe.path}`, 'GET /api/v1/models');
        first.play(reply());
        await until(async () => (await server.chat(key, hello)).status === 200, 'good health');
      });
    });
  });
});
