// moongate in front of scripted upstreams: its configuration, its log, and what the tests of the
// relay have in common.
import { stringify } from 'yaml';
import { allowUpstreams } from './contract.mjs';
import { Server, hello } from './server.mjs';
import { Upstream } from './upstream.mjs';

export { callLine, logLines } from './log.mjs';

allowUpstreams();

export const model = hello.model;
export const chat = '/v1/chat/completions';

/**
 * The text of a configuration. backends: {name: an Upstream, 'local', or options of a backend};
 * routes: rows of the model's `backends` (default: one for each); model: options of the model;
 * models: rows in its place; routing, limits, engine, log: as in the file.
 */
export function configOf({ backends, routes, model: row, models, ...rest }) {
  const list = Object.entries(backends).map(([name, b]) => {
    if (b === 'local') return { name, kind: 'local' };
    const options = b instanceof Upstream ? { upstream: b } : b;
    const { upstream, ...more } = options;
    return { name, kind: 'openai', url: upstream?.url, ...more };
  });
  const usual = {
    id: model,
    like: model,
    backends: routes ?? list.map(({ name }) => ({ name })),
    ...row,
  };
  return stringify({ log: { format: 'json' }, models: models ?? [usual], backends: list, ...rest });
}

/** Runs work(server, key) with a gateway of its own; the upstreams are closed afterwards. */
export async function withGateway(options, work) {
  const server = await Server.start({ config: configOf(options) });
  try {
    await work(server, await server.key());
    await server.stop();
  } finally {
    await server.kill();
  }
}

/** Runs work(...upstreams) with one upstream a script, all closed afterwards. */
export async function withUpstreams(scripts, work) {
  const upstreams = [];
  try {
    for (const script of scripts) {
      const [one, options] =
        Array.isArray(script) && typeof script[1] !== 'function' ? script : [script];
      upstreams.push(await Upstream.start(one, options));
    }
    await work(...upstreams);
  } finally {
    for (const upstream of upstreams) await upstream.close();
  }
}

/** One upstream with its gateway: work({server, key, upstream}). */
export async function relay(script, work, options = {}) {
  const { upstream: listen, backend = {}, ...rest } = options;
  const upstream = await Upstream.start(script, listen);
  try {
    await withGateway({ backends: { up: { upstream, ...backend } }, ...rest }, (server, key) =>
      work({ server, key, upstream }),
    );
  } finally {
    await upstream.close();
  }
}

/** Ends a server and upstreams that a whole file used, also those that a failure left undefined. */
export async function closeAll(server, ...upstreams) {
  try {
    await server?.stop();
  } finally {
    await server?.kill();
    for (const upstream of upstreams) await upstream?.close();
  }
}
