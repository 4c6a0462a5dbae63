// A PostgreSQL of a test's own, which it may stop, crash and freeze: tools/postgres.sh does it.
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { addressOf, sql } from './stores.mjs';

const script = fileURLToPath(new URL('../../../tools/postgres.sh', import.meta.url));

export class Postgres {
  static async start() {
    const postgres = new Postgres();
    postgres.made = 0;
    postgres.folder = mkdtempSync(join(tmpdir(), 'moongate-pg-'));
    await postgres.#control('start');
    await postgres.sql('CREATE DATABASE books');
    postgres.url = addressOf('books', postgres.folder);
    return postgres;
  }

  #control(what) {
    return new Promise((resolve, reject) => {
      execFile(script, [what, this.folder], (error, stdout, stderr) =>
        error ? reject(new Error(`postgres.sh ${what}: ${stdout}${stderr}`)) : resolve(),
      );
    });
  }

  /** The address of a database that is new. */
  async fresh() {
    const name = `fresh_${++this.made}`;
    await this.sql(`CREATE DATABASE ${name}`);
    return addressOf(name, this.folder);
  }

  /** The lines of the answer; `database` is a name or an address. */
  sql(text, database = 'postgres') {
    return sql(text, database, this.folder);
  }

  again() {
    return this.#control('start');
  }

  crash() {
    return this.#control('crash');
  }

  /** The postmaster and all its children. */
  #processes() {
    const file = readFileSync(join(this.folder, 'data', 'postmaster.pid'), 'utf8');
    const postmaster = Number(file.split('\n')[0]);
    const parentOf = (pid) => {
      try {
        return Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')[1]);
      } catch {
        return 0; // it has ended
      }
    };
    const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number);
    return [postmaster, ...all.filter((pid) => parentOf(pid) === postmaster)];
  }

  // The kernel stops processes of another user for root alone; an ordinary user's are its own.
  freeze() {
    for (const pid of this.#processes()) process.kill(pid, 'SIGSTOP');
  }

  thaw() {
    for (const pid of this.#processes()) process.kill(pid, 'SIGCONT');
  }

  close() {
    return this.#control('remove');
  }
}
