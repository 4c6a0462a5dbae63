// A real redis-server for a test: on a free port of 127.0.0.1, with a password, without files.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from './server.mjs';
import { deadPort } from './upstream.mjs';

const password = 'of-a-test';

export class Redis {
  static async start() {
    const redis = new Redis();
    redis.folder = mkdtempSync(join(tmpdir(), 'moongate-redis-'));
    redis.port = await deadPort();
    redis.places = 0;
    await redis.again();
    return redis;
  }

  /** The address of a database that nobody has used. */
  place() {
    return `redis://:${password}@127.0.0.1:${this.port}/${this.places++}`;
  }

  async again() {
    const args = ['--port', this.port, '--bind', '127.0.0.1', '--requirepass', password];
    args.push('--databases', 1000, '--save', '', '--appendonly', 'no', '--dir', this.folder);
    let log = '';
    this.process = spawn('redis-server', args.map(String), { stdio: ['ignore', 'pipe', 'inherit'] });
    this.process.stdout.setEncoding('utf8');
    this.process.stdout.on('data', (text) => (log += text));
    this.exit = new Promise((resolve) => this.process.on('close', resolve));
    await until(() => /Ready to accept connections/.test(log), 'redis-server to be ready');
  }

  async stop() {
    this.process.kill('SIGKILL');
    await this.exit;
  }

  async close() {
    await this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
