// Starts the real program with a data folder of its own, and runs its commands. The program is
// named by MOONGATE (default: build/moongate in the repository), its store by MOONGATE_TEST_STORE:
// with `replicas` a Server is two processes behind one address.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Balancer } from './balancer.mjs';
import { call, open, recorded } from './client.mjs';
import { environmentOf, forget, isReplicated } from './stores.mjs';

export const program =
  process.env.MOONGATE ?? fileURLToPath(new URL('../../../build/moongate', import.meta.url));

export const folder = () => mkdtempSync(join(tmpdir(), 'moongate-e2e-'));

/** Looks again and again until look() is truthy; gives that. Fails after a minute. */
export async function until(look, what) {
  const end = Date.now() + 60_000;
  for (;;) {
    const value = await look();
    if (value) return value;
    if (Date.now() > end) assert.fail(`waited a minute for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Runs a command to its end: {code, stdout, stderr}. */
export function run(args, options = {}) {
  return new Promise((resolve) => {
    execFile(program, args, { encoding: 'utf8', ...options }, (error, stdout, stderr) =>
      resolve({ code: error ? (error.code ?? error.signal) : 0, stdout, stderr }),
    );
  });
}

/** One process of the program: its log, its end, and where it listens. */
class Process {
  constructor(args, options) {
    this.log = '';
    this.child = spawn(program, args, { ...options, stdio: ['ignore', 'ignore', 'pipe'] });
    this.child.stderr.setEncoding('utf8');
    this.child.stderr.on('data', (text) => (this.log += text));
    this.exit = new Promise((resolve, reject) => {
      this.child.on('error', reject);
      this.child.on('close', (code, signal) => {
        this.ended = { code, signal };
        resolve(this.ended);
      });
    });
    this.exit.catch(() => {});
  }

  kill(signal) {
    if (!this.ended) this.child.kill(signal);
  }

  async listening() {
    await until(() => / listening on https?:/.test(this.log) || this.ended, 'the listening line');
    const found = /moongate (\S+) listening on (https?:\/\/[\d.]+:\d+)/.exec(this.log);
    assert.ok(found, `the program did not start:\n${this.log}`);
    [, this.version, this.origin] = found;
    this.port = Number(new URL(this.origin).port);
  }
}

export class Server {
  /**
   * set: options by name; config: text of a configuration file; data: a folder to use again, with
   * what its store has; env: more of the environment; replicas: how many processes.
   */
  static async start({ set = {}, config, data, args = [], env = {}, replicas } = {}) {
    const server = new Server();
    server.ownsData = data === undefined;
    server.data = data ?? folder();
    server.env = { ...(await environmentOf(server.data)), ...env };
    const line = ['serve', '--data', join(server.data, 'data'), '--listen', '127.0.0.1:0'];
    if (config !== undefined) {
      server.config = join(server.data, 'moongate.yaml');
      writeFileSync(server.config, config);
      line.push('--config', server.config);
    }
    for (const [name, value] of Object.entries(set)) line.push('--set', `${name}=${value}`);
    server.line = [...line, ...args];
    await server.spawn(replicas ?? (isReplicated ? 2 : 1));
    return server;
  }

  /** Starts the processes, all of them at once; again, after they have ended. */
  async spawn(count = this.processes.length) {
    const options = { cwd: this.data, env: { ...process.env, ...this.env } };
    this.processes = Array.from({ length: count }, () => new Process(this.line, options));
    this.exit = Promise.all(this.processes.map((one) => one.exit)).then((ends) => ends[0]);
    this.exit.catch(() => {});
    try {
      await Promise.all(this.processes.map((one) => one.listening()));
    } catch (error) {
      for (const one of this.processes) one.kill('SIGKILL');
      throw error;
    }
    const [first] = this.processes;
    this.version = first.version;
    if (count > 1) this.balancer ??= await Balancer.start(() => this.processes.map((p) => p.port));
    this.port = this.balancer?.port ?? first.port;
    this.origin = `${new URL(first.origin).protocol}//127.0.0.1:${this.port}`;
  }

  /** What a test does to `the` process is done to all of them. */
  get process() {
    return { pid: this.processes[0].child.pid, kill: (signal) => this.signal(signal) };
  }

  signal(signal) {
    for (const one of this.processes) one.kill(signal);
  }

  get log() {
    return this.processes.map((one) => one.log).join('');
  }

  get ended() {
    return this.processes.every((one) => one.ended) && this.processes[0].ended;
  }

  /** A new key; options like {models: 'a,b', expires: '1s', name: 'x'}. */
  async key(options = {}) {
    const args = ['key', 'create', '--data', join(this.data, 'data')];
    for (const [name, value] of Object.entries(options)) args.push(`--${name}`, value);
    const { code, stdout, stderr } = await run(args, this.#commands);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^mg-[A-Za-z0-9_-]{43}\n$/);
    return stdout.trim();
  }

  command(...args) {
    return run([...args, '--data', join(this.data, 'data')], this.#commands);
  }

  get #commands() {
    return { env: { ...process.env, ...this.env } };
  }

  call(method, path, options) {
    return call(this.origin, method, path, options);
  }

  open(method, path, options) {
    return open(this.origin, method, path, options);
  }

  /** POST of a chat; `rest` goes to the client. */
  chat(key, body, { path = '/v1/chat/completions', ...rest } = {}) {
    return this.call('POST', path, { key, body, ...rest });
  }

  openChat(key, body, { path = '/v1/chat/completions', ...rest } = {}) {
    return this.open('POST', path, { key, body: { ...body, stream: true }, ...rest });
  }

  /**
   * A sample of /metrics, such as 'moongate_calls_running' or one with its labels; 0 if absent.
   * Of replicas it is the sum.
   */
  async metric(name) {
    let sum = 0;
    for (const { origin } of this.processes) {
      const { text } = await call(origin, 'GET', '/metrics');
      const line = text.split('\n').find((l) => l.startsWith(`${name} `));
      if (line) sum += Number(line.slice(name.length + 1));
    }
    return sum;
  }

  untilMetric(name, predicate) {
    return until(async () => predicate(await this.metric(name)), `${name} to become right`);
  }

  /** Ends the program in its ordinary way and looks at what it left. */
  async stop() {
    this.signal('SIGTERM');
    await this.exit;
    await this.clean();
    await recorded();
    assert.ok(!/Sanitizer|runtime error:/.test(this.log), this.log);
    for (const { ended, log } of this.processes)
      assert.deepEqual(ended, { code: 0, signal: null }, log);
  }

  /** Ends the program at once, if it still runs. */
  async kill() {
    this.signal('SIGKILL');
    await this.exit;
    await this.clean();
  }

  async clean() {
    this.balancer?.close();
    this.balancer = undefined;
    if (!this.ownsData) return;
    await forget(this.data);
    rmSync(this.data, { recursive: true, force: true });
  }
}

export const hello = { model: 'kimi-k2.5', messages: [{ role: 'user', content: 'Hello' }] };

/** Runs work(server, key) against a server of its own, which is gone afterwards, come what may. */
export async function withServer(options, work) {
  const server = await Server.start(options);
  try {
    await work(server, await server.key());
    await server.stop();
  } finally {
    await server.kill();
  }
}

/**
 * A request whose reply is one token over and over until max_tokens: the bias is so great that
 * the model has no choice. Its text is not the model's, and its length is known.
 */
export function endless(maxTokens, more = {}) {
  return {
    ...hello,
    thinking: { type: 'disabled' },
    logit_bias: { 64: 100 },
    max_tokens: maxTokens,
    ...more,
  };
}
