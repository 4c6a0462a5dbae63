// What the documentation promises of the configuration: what is there to paste is good, and no
// option is left out.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { certificates } from './lib/certificates.mjs';
import { open, textOf } from './lib/client.mjs';
import { freePort } from './lib/console.mjs';
import { begin } from './lib/dialects.mjs';
import { configOf } from './lib/gateway.mjs';
import { Nginx, hasNginx, nginxCheck, nginxFile } from './lib/nginx.mjs';
import { Server, folder, hello, run } from './lib/server.mjs';
import { Upstream, within } from './lib/upstream.mjs';

const page = (name) => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8');
const root = fileURLToPath(new URL('../../', import.meta.url));
const upstreams = page('docs/upstreams.md');
const blocks = [...upstreams.matchAll(/^### (.*?)\n.*?^```yaml\n(.*?)^```$/gms)];

describe('docs/upstreams.md', () => {
  it('has a configuration for each kind of server', () => {
    assert.ok(blocks.length >= 6);
  });

  for (const [, title, text] of blocks) {
    it(`has one that is good: ${title}`, async () => {
      const data = folder();
      try {
        const file = join(data, 'moongate.yaml');
        writeFileSync(file, text);
        const env = { ...process.env };
        for (const { key_env: name } of parse(text).backends) if (name) env[name] = 'sk-1';
        const checked = await run(['config', 'check', '--config', file], { env });
        assert.equal(checked.code, 0, checked.stdout + checked.stderr);
      } finally {
        rmSync(data, { recursive: true });
      }
    });
  }

  it('names every option of routing and of backends', () => {
    const defaults = page('moongate.yaml');
    const names = Object.keys(parse(defaults).routing).map((name) => `routing.${name}`);
    const list = defaults.slice(defaults.indexOf('# What answers for the models'));
    for (const [, name] of list.matchAll(/^# {3}([a-z0-9_]+):/gm)) names.push(name);
    assert.ok(names.includes('routing.tries') && names.includes('idle_timeout'));
    for (const name of names) assert.ok(upstreams.includes(`\n| \`${name}\` |`), name);
  });
});

const operating = page('docs/operating.md');
const fenced = (kind) =>
  [...operating.matchAll(/^```(\w+)\n(.*?)^```$/gms)]
    .filter(([, word]) => word === kind)
    .map(([, , text]) => text);
const [nginxPage] = fenced('nginx');

describe('docs/operating.md', () => {
  const inFolder = async (work) => {
    const data = folder();
    try {
      await work(data);
    } finally {
      rmSync(data, { recursive: true });
    }
  };

  it('has configurations that are good', () =>
    inFolder(async (data) => {
      mkdirSync(join(data, 'tls'));
      const { good } = certificates(data);
      writeFileSync(join(data, 'tls', 'fullchain.pem'), good.cert);
      writeFileSync(join(data, 'tls', 'privkey.pem'), good.key);
      const texts = fenced('yaml');
      assert.ok(texts.length >= 4);
      for (const text of texts) {
        const file = join(data, 'moongate.yaml');
        writeFileSync(file, text.replaceAll('/etc/moongate/tls/', join(data, 'tls/')));
        const checked = await run(['config', 'check', '--config', file]);
        assert.equal(checked.code, 0, checked.stderr);
        assert.equal(checked.stderr, '');
      }
    }));

  it('names metrics that there are', async () => {
    const server = await Server.start();
    try {
      const { text } = await server.call('GET', '/metrics');
      const names = new Set(operating.match(/\bmoongate_[a-z_]+\b/g));
      const shared = /^moongate_limits_/; // with Redis alone
      for (const name of names)
        if (!shared.test(name)) assert.ok(text.includes(`# TYPE ${name} `), name);
      assert.ok(names.size > 6);
      await server.stop();
    } finally {
      await server.kill();
    }
  });

  const skip = !hasNginx && 'nginx is not installed';

  it('has an nginx configuration that nginx takes', { skip }, () =>
    inFolder((data) => {
      const { good } = certificates(data);
      writeFileSync(join(data, 'kimi.pem'), good.cert);
      writeFileSync(join(data, 'kimi.key'), good.key);
      assert.equal(nginxCheck(data, nginxFile(data, nginxPage, { port: 1, upstream: 2 })), '');
    }));

  it('has an nginx configuration that passes streams and clients on', { skip }, () =>
    inFolder(async (data) => {
      const { good, caFile } = certificates(data);
      writeFileSync(join(data, 'kimi.pem'), good.cert);
      writeFileSync(join(data, 'kimi.key'), good.key);
      const upstream = await Upstream.start(begin((request, wire) => wire.stall()));
      const server = await Server.start({
        config: configOf({ backends: { up: upstream } }),
        set: { 'http.trusted_proxies': '127.0.0.1/32' },
      });
      const port = await freePort();
      const file = nginxFile(data, nginxPage, { port, upstream: server.port });
      const nginx = await Nginx.start(data, file);
      const ask = (localAddress, method, path, more) =>
        open(`https://127.0.0.1:${port}`, method, path, {
          ca: readFileSync(caFile),
          localAddress,
          ...more,
        });
      const from = async (...args) => (await ask(...args)).end;
      try {
        await nginx.ready(() => from('127.0.0.1', 'GET', '/healthz'));

        // A stream comes as it is made: its upstream says no more until the client is gone.
        const key = await server.key();
        const body = { ...hello, stream: true };
        const stream = await ask('127.0.0.1', 'POST', '/v1/chat/completions', { key, body });
        await within(
          stream.until((a) => textOf(a).length > 0),
          'the first piece',
        );
        await stream.abort();
        await within(upstream.requests[0].gone, 'that the upstream is left, too');

        // A key for the network of one client, who is who nginx says, whatever the client says.
        await server.command('account', 'create', 'ann@example.org');
        const { stdout } = await server.command('account', 'token', 'ann@example.org');
        const token = stdout.trim();
        const made = await from('127.0.0.1', 'POST', '/api/v1/applications', {
          key: token,
          body: { service_id: 1 },
        });
        assert.equal(made.status, 201, made.text);
        const credential = await from('127.0.0.1', 'POST', '/api/v1/credentials', {
          key: token,
          body: { application_id: made.json.id, networks: ['127.0.0.2/32'] },
        });
        assert.equal(credential.status, 201, credential.text);
        const only = credential.json.token;
        const list = (address, headers) =>
          from(address, 'GET', '/v1/models', { key: only, headers });
        assert.equal((await list('127.0.0.2')).status, 200);
        for (const headers of [{}, { 'x-forwarded-for': '127.0.0.2' }]) {
          const answer = await list('127.0.0.3', headers);
          assert.equal(answer.json.error?.code, 'token_mismatched', answer.text);
        }
        await server.stop();
      } finally {
        await nginx.stop();
        await server.kill();
        await upstream.close();
      }
    }));
});

describe('the documentation', () => {
  const pages = [
    ...readdirSync(root).filter((name) => name.endsWith('.md')),
    ...readdirSync(join(root, 'docs'))
      .filter((name) => name.endsWith('.md'))
      .map((name) => `docs/${name}`),
  ];
  const anchors = (text) =>
    [...text.matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
      title
        .toLowerCase()
        .replace(/[^a-z0-9 _-]/g, '')
        .replaceAll(' ', '-'),
    );

  it('links to what is there', () => {
    for (const name of pages) {
      for (const [, link] of page(name).matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^[a-z]+:/.test(link)) continue;
        const [file, anchor] = link.split('#');
        const target = file ? join(root, dirname(name), file) : join(root, name);
        assert.ok(existsSync(target), `${name}: ${link}`);
        if (anchor)
          assert.ok(anchors(readFileSync(target, 'utf8')).includes(anchor), `${name}: ${link}`);
      }
    }
  });

  it('names options that there are', () => {
    const known = parse(page('moongate.yaml'));
    const isGroup = (value) => value && typeof value === 'object' && !Array.isArray(value);
    const groups = Object.keys(known).filter((key) => isGroup(known[key]));
    for (const name of pages) {
      const said = page(name).matchAll(/`([a-z]+)\.([a-z_]+)(?::[^`]*)?`/g);
      for (const [whole, group, option] of said) {
        if (!groups.includes(group) || /\.(c|h|md|yaml)`$/.test(whole)) continue;
        assert.ok(option in known[group], `${name}: ${whole}`);
      }
    }
  });
});
