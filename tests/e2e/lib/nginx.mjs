// An nginx with a configuration of docs/operating.md: what names the machine that the page is
// for (ports, certificates) is put in, the rest is as it stands there.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from './server.mjs';

const find = () => spawnSync('nginx', ['-v'], { encoding: 'utf8' });
export const hasNginx = find().status === 0;

function replaced(text, from, to) {
  assert.ok(text.includes(from), `the configuration has no line ${from}`);
  return text.replaceAll(from, to);
}

/** The file of a whole configuration in `folder`, which has kimi.pem and kimi.key. */
export function nginxFile(folder, text, { port, upstream }) {
  let page = replaced(text, 'listen 443 ssl', `listen 127.0.0.1:${port} ssl`);
  page = replaced(page, 'server 127.0.0.1:8080;', `server 127.0.0.1:${upstream};`);
  page = replaced(page, '/etc/ssl/kimi/fullchain.pem', join(folder, 'kimi.pem'));
  page = replaced(page, '/etc/ssl/kimi/privkey.pem', join(folder, 'kimi.key'));
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${join(folder, name)};`)
    .join('\n');
  const file = join(folder, 'nginx.conf');
  writeFileSync(
    file,
    `daemon off;\npid ${join(folder, 'nginx.pid')};\nerror_log stderr;\nevents {}\n` +
      `http {\naccess_log off;\n${paths}\n${page}\n}\n`,
  );
  return file;
}

/** What `nginx -t` says of it; "" if it is good. */
export function nginxCheck(folder, file) {
  const { status, stderr } = spawnSync('nginx', ['-t', '-p', folder, '-c', file], {
    encoding: 'utf8',
  });
  return status === 0 ? '' : stderr;
}

export class Nginx {
  static async start(folder, file) {
    const nginx = new Nginx();
    chmodSync(folder, 0o755); // its workers are another user's
    nginx.log = '';
    nginx.child = spawn('nginx', ['-p', folder, '-c', file], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    nginx.child.stderr.setEncoding('utf8').on('data', (text) => (nginx.log += text));
    nginx.exit = new Promise((resolve) => nginx.child.on('close', resolve));
    return nginx;
  }

  /** Waits until ask() does not throw. */
  ready(ask) {
    return until(async () => {
      assert.equal(this.child.exitCode, null, this.log);
      return ask().then(Boolean, () => false);
    }, 'nginx');
  }

  stop() {
    this.child.kill('SIGTERM');
    return this.exit;
  }
}
