// A private PostgreSQL: in a folder of its own, on a unix socket alone, as the user postgres where
// we are root. fresh() gives the address of a place where nothing is yet.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { chownSync, existsSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { folder, until } from './server.mjs';

const versions = '/usr/lib/postgresql';

/** The programs of the newest server that is installed. */
function findPrograms() {
  const found = existsSync(versions) ? readdirSync(versions).map(Number) : [];
  const version = Math.max(0, ...found.filter((n) => existsSync(`${versions}/${n}/bin/initdb`)));
  assert.ok(version >= 15, 'PostgreSQL 15 or newer is needed (package postgresql)');
  return `${versions}/${version}/bin`;
}

/** PostgreSQL does not run as root. */
function findUser() {
  if (process.getuid() !== 0) return {};
  const line = readFileSync('/etc/passwd', 'utf8').match(/^postgres:[^:]*:(\d+):(\d+):/m);
  assert.ok(line, 'there is no user postgres');
  return { uid: Number(line[1]), gid: Number(line[2]) };
}

export class Postgres {
  static async start() {
    const server = new Postgres();
    server.bin = findPrograms();
    server.user = findUser();
    server.folder = folder();
    server.places = 0;
    if (server.user.uid) chownSync(server.folder, server.user.uid, server.user.gid);
    try {
      const options = ['-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync'];
      server.execute('initdb', ['-D', join(server.folder, 'pg'), '-U', 'moongate', ...options]);
      await server.begin();
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  execute(name, args) {
    return execFileSync(join(this.bin, name), args, {
      ...this.user,
      cwd: this.folder,
      encoding: 'utf8',
      env: { ...process.env, LC_ALL: 'C.UTF-8' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** Starts it, also again after crash(). */
  async begin() {
    const args = ['-D', join(this.folder, 'pg'), '-k', this.folder, '-h', '', '-c', 'fsync=off'];
    this.log = '';
    this.process = spawn(join(this.bin, 'postgres'), args, {
      ...this.user,
      cwd: this.folder,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const { process: child } = this;
    child.stderr.setEncoding('utf8');
    child.stderr.on('data', (text) => (this.log += text));
    this.exit = new Promise((resolve) => {
      child.on('error', resolve);
      child.on('close', resolve);
    });
    this.exit.then(() => (child.ended = true));
    await until(() => {
      assert.ok(!child.ended, this.log);
      try {
        return this.sql('SELECT 1') === '1';
      } catch {
        return false;
      }
    }, 'PostgreSQL to start');
  }

  /** Runs SQL and gives what it answers, as psql writes it; in a place or in the whole. */
  sql(text, place) {
    const address = place ?? this.address();
    return this.execute('psql', ['-X', '-A', '-t', '-q', '-d', address, '-c', text]).trim();
  }

  address() {
    return `postgres://moongate@/postgres?host=${encodeURIComponent(this.folder)}`;
  }

  fresh() {
    const name = `place${++this.places}`;
    this.sql(`CREATE SCHEMA ${name}`);
    return `${this.address()}&options=-csearch_path%3D${name}`;
  }

  /** Ends it at once, as a crash would. */
  async crash() {
    if (this.process && !this.process.ended) this.process.kill('SIGQUIT');
    await this.exit;
  }

  async stop() {
    await this.crash();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
