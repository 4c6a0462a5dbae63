// moongate's own TLS as clients see it: replies, streams, the openai package, log-in cookies, and
// a certificate that is renewed while connections stand.
import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import tls from 'node:tls';
import OpenAI from 'openai';
import { certificates } from './lib/certificates.mjs';
import { textOf } from './lib/client.mjs';
import { Raw, head } from './lib/raw.mjs';
import { Server, endless, folder, hello, until } from './lib/server.mjs';

describe('TLS of its own', () => {
  let data, server, key, ca, certs;
  before(async () => {
    data = folder();
    certs = certificates(data);
    ca = readFileSync(certs.caFile);
    install(certs.good);
    server = await Server.start({
      set: { 'tls.cert': join(data, 'cert.pem'), 'tls.key': join(data, 'key.pem') },
    });
    key = await server.key();
  });
  after(async () => {
    await server.stop();
    rmSync(data, { recursive: true });
  });

  function install({ cert, key: secret }) {
    writeFileSync(join(data, 'cert.pem'), cert);
    writeFileSync(join(data, 'key.pem'), secret);
  }

  /** What a new connection is shown: {serial, protocol, socket}. */
  const connect = (options = {}) =>
    new Promise((resolve, reject) => {
      const socket = tls.connect({ port: server.processes[0].port, host: '127.0.0.1', ca, ...options });
      socket.once('error', reject);
      socket.once('secureConnect', () =>
        resolve({
          serial: socket.getPeerCertificate().serialNumber,
          protocol: socket.getProtocol(),
          socket,
        }),
      );
    });

  it('says so where it listens', () => assert.match(server.origin, /^https:/));

  it('has whole replies and streams', async () => {
    const whole = await server.chat(key, hello, { ca });
    assert.equal(whole.status, 200, whole.text);
    assert.ok(textOf(whole).length > 0);
    const stream = await server.openChat(key, hello, { ca });
    await stream.end;
    assert.equal(stream.events.at(-1), '[DONE]');
    assert.ok(textOf(stream).length > 0);
  });

  it('has replies of many records', async () => {
    const body = endless(1500);
    const answer = await server.chat(key, body, { ca });
    assert.equal(answer.json.usage.completion_tokens, 1500);
    const stream = await server.openChat(key, body, { ca });
    await stream.end;
    assert.equal(textOf(stream).length, textOf(answer).length);
  });

  it('is enough for the openai package that knows the authority', async () => {
    const agent = new https.Agent({ ca, keepAlive: true });
    const openai = new OpenAI({
      baseURL: `${server.origin}/v1`,
      apiKey: key,
      fetch: (url, { method, headers, body, signal }) => fetchBy(agent, url, { method, headers, body, signal }),
    });
    const whole = await openai.chat.completions.create(hello);
    assert.equal(whole.choices[0].finish_reason, 'stop');
    let text = '';
    for await (const chunk of await openai.chat.completions.create({ ...hello, stream: true }))
      text += chunk.choices[0]?.delta.content ?? '';
    assert.ok(text.length > 0);
    agent.destroy();
  });

  it('is refused by a client that does not know the authority', async () => {
    await assert.rejects(server.chat(key, hello), { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' });
  });

  it('speaks TLS 1.2 and 1.3 and nothing older', async () => {
    for (const version of ['TLSv1.2', 'TLSv1.3']) {
      const { socket, protocol } = await connect({ minVersion: version, maxVersion: version });
      assert.equal(protocol, version);
      socket.destroy();
    }
    const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' };
    await assert.rejects(connect(old));
  });

  it('shows a renewed certificate to new connections, after SIGHUP', async () => {
    const first = await connect();
    const stream = await server.openChat(key, endless(1500), { ca });
    const renewed = certificates(join(data)); // another authority, other serial numbers
    install(renewed.good);
    server.signal('SIGHUP');
    const fresh = readFileSync(renewed.caFile);
    let second;
    await until(async () => {
      second = await connect({ ca: [ca, fresh] });
      second.socket.destroy();
      return second.serial !== first.serial;
    }, 'the renewed certificate');
    await stream.end; // began with the old one
    assert.equal(stream.events.at(-1), '[DONE]');
    first.socket.destroy();
    ca = fresh;
    assert.equal((await server.chat(key, hello, { ca })).status, 200);
  });

  it('keeps the certificate that it has where the new one is broken', async () => {
    const before = await connect();
    before.socket.destroy();
    copyFileSync(join(data, 'stranger.key'), join(data, 'key.pem'));
    server.signal('SIGHUP');
    await until(() => /kept the old configuration/.test(server.log), 'the line in the log');
    const now = await connect();
    now.socket.destroy();
    assert.equal(now.serial, before.serial);
    assert.equal((await server.chat(key, hello, { ca })).status, 200);
  });

  it('makes the cookies of a log-in Secure', async () => {
    const { stdout } = await server.command('account', 'create', 'ann@example.org');
    const answer = await server.call('POST', '/console/api/log-in', {
      ca,
      body: { email: 'ann@example.org', password: stdout.trim() },
    });
    assert.equal(answer.status, 200, answer.text);
    const [cookie] = answer.headers['set-cookie'];
    assert.match(cookie, /^__Host-moongate_session=[^;]+;/);
    assert.match(cookie, /; Secure(;|$)/);
    assert.match(cookie, /; HttpOnly(;|$)/);
  });

  it('does not answer HTTP that is not encrypted, and lives on', async () => {
    const raw = await Raw.connect(server.processes[0].port);
    await raw.send(head('/healthz', undefined, [], 'GET'));
    await raw.untilClosed();
    assert.ok(!raw.bytes.includes('"ok"'), String(raw.bytes));
    assert.equal((await server.call('GET', '/healthz', { ca })).status, 200);
  });
});

/** fetch with an agent, which Node's own has not. */
function fetchBy(agent, url, { method, headers, body, signal }) {
  return new Promise((resolve, reject) => {
    const request = https.request(
      url,
      { agent, method, headers: Object.fromEntries(new Headers(headers)), signal },
      (answer) => {
        const bytes = new ReadableStream({
          start(out) {
            answer.on('data', (part) => out.enqueue(new Uint8Array(part)));
            answer.on('end', () => out.close());
            answer.on('error', (error) => out.error(error));
          },
        });
        resolve(new Response(bytes, { status: answer.statusCode, headers: answer.headers }));
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}
