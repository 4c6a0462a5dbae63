// A browser as far as the console's endpoints need one: it keeps cookies, sends the token against
// cross-site requests, and follows no redirection. And a mail server and an OpenID Connect
// provider that say what a test wants.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { execFile } from 'node:child_process';
import http from 'node:http';
import net from 'node:net';
import { join } from 'node:path';
import { checkAnswer } from './contract.mjs';
import { program, until } from './server.mjs';

export const password = 'correct horse battery';

export class Browser {
  constructor(server) {
    this.origin = server.origin;
    this.cookies = new Map();
  }

  /** {status, headers, text, json, cookies}: `cookies` are the lines of Set-Cookie. */
  send(method, path, { body, headers = {} } = {}) {
    const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
    const sent = {};
    if (text !== undefined) sent['content-type'] = 'application/json';
    if (this.csrf && method !== 'GET') sent['x-csrf-token'] = this.csrf;
    if (this.cookies.size > 0)
      sent.cookie = [...this.cookies].map(([k, v]) => `${k}=${v}`).join('; ');
    Object.assign(sent, headers);
    for (const name of Object.keys(sent)) if (sent[name] === undefined) delete sent[name];
    return new Promise((resolve, reject) => {
      const request = http.request(
        this.origin,
        { method, path, headers: sent, agent: false },
        (response) => {
          const parts = [];
          response.on('data', (part) => parts.push(part));
          response.on('error', reject);
          response.on('end', () => {
            try {
              resolve(this.#take(method, path, body, response, Buffer.concat(parts).toString()));
            } catch (error) {
              reject(error);
            }
          });
        },
      );
      request.on('error', reject);
      request.end(text);
    });
  }

  #take(method, path, request, response, text) {
    const { statusCode: status, headers } = response;
    if (typeof request === 'string') request = undefined; // what a test wrote byte by byte
    checkAnswer({ method, path, request, status, headers, body: text });
    const cookies = response.headers['set-cookie'] ?? [];
    for (const line of cookies) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      if (/Max-Age=0(;|$)/.test(line)) this.cookies.delete(name);
      else this.cookies.set(name, value);
    }
    const json = text.startsWith('{') ? JSON.parse(text) : undefined;
    if (json?.csrf_token) this.csrf = json.csrf_token;
    return { status: response.statusCode, headers: response.headers, text, json, cookies };
  }

  get(path) {
    return this.send('GET', path);
  }

  post(path, body = {}, options) {
    return this.send('POST', path, { body, ...options });
  }

  patch(path, body) {
    return this.send('PATCH', path, { body });
  }

  logIn(email, secret = password) {
    return this.post('/console/api/log-in', { email, password: secret });
  }
}

/** Makes an account by the command line; gives a browser that is logged in. */
export async function someone(server, email, { admin = false } = {}) {
  const args = ['account', 'create', email, '--password-stdin'];
  await new Promise((resolve, reject) => {
    const child = execFile(
      program,
      [...args, ...(admin ? ['--admin'] : []), '--data', join(server.data, 'data')],
      { env: { ...process.env, ...server.env } },
      (error, stdout, stderr) => (error ? reject(new Error(stderr)) : resolve()),
    );
    child.stdin.end(`${password}\n`);
  });
  const browser = new Browser(server);
  const answer = await browser.logIn(email);
  assert.equal(answer.status, 200, answer.text);
  browser.id = answer.json.id;
  return browser;
}

/** Runs `moongate account ...` and gives its output. */
export async function account(server, ...args) {
  const { code, stdout, stderr } = await server.command('account', ...args);
  assert.equal(code, 0, stderr);
  return stdout.trim();
}

export const tokenOf = (link) => /\/#\/[a-z-]+\/([\w-]{43})$/.exec(link)[1];

/** A port that nobody has, for a server whose address must be known before it starts. */
export function freePort() {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** A mail server without TLS; `mails` are {to, subject, text}. */
export class MailServer {
  static async start() {
    const server = new MailServer();
    server.mails = [];
    server.sockets = new Set();
    server.listener = net.createServer((socket) => server.#talk(socket));
    await new Promise((resolve) => server.listener.listen(0, '127.0.0.1', resolve));
    server.url = `smtp://127.0.0.1:${server.listener.address().port}`;
    return server;
  }

  #talk(socket) {
    let text = '';
    let mail = null;
    let to = '';
    this.sockets.add(socket);
    socket.on('close', () => this.sockets.delete(socket));
    socket.on('error', () => {});
    socket.write('220 test\r\n');
    socket.on('data', (bytes) => {
      text += bytes.toString('latin1');
      for (let end = text.indexOf('\r\n'); end >= 0; end = text.indexOf('\r\n')) {
        const line = text.slice(0, end);
        text = text.slice(end + 2);
        if (mail !== null) {
          if (line !== '.') {
            mail.push(line.startsWith('.') ? line.slice(1) : line);
            continue;
          }
          this.#keep(to, mail);
          mail = null;
          socket.write('250 kept\r\n');
        } else if (/^DATA/i.test(line)) {
          mail = [];
          socket.write('354 go on\r\n');
        } else if (/^QUIT/i.test(line)) {
          socket.end('221 bye\r\n');
        } else {
          if (/^RCPT TO:/i.test(line)) to = /<(.*)>/.exec(line)[1];
          socket.write('250 good\r\n');
        }
      }
    });
  }

  #keep(to, lines) {
    const empty = lines.indexOf('');
    const body = lines.slice(empty + 1).join('\n').replace(/=\n/g, '');
    const bytes = body.replace(/=([0-9A-F]{2})/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
    const subject = lines.find((line) => line.startsWith('Subject: ')).slice(9);
    this.mails.push({ to, subject, text: Buffer.from(bytes, 'latin1').toString() });
  }

  /** The link of the n-th mail. */
  async link(n) {
    await until(() => this.mails.length > n, `mail ${n}`);
    return /^ {4}(http\S+)$/m.exec(this.mails[n].text)[1];
  }

  stop() {
    for (const socket of this.sockets) socket.destroy();
    return new Promise((resolve) => this.listener.close(resolve));
  }
}

const base64url = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/**
 * An OpenID Connect provider. `authorize(url, claims)` is the person who says yes there: it gives
 * the address that the browser is sent back to.
 */
export class Provider {
  static async start({ secret = 's3cret' } = {}) {
    const provider = new Provider();
    provider.secret = secret;
    provider.codes = new Map();
    provider.seen = [];
    provider.listener = http.createServer((request, response) =>
      provider.#answer(request, response),
    );
    await new Promise((resolve) => provider.listener.listen(0, '127.0.0.1', resolve));
    provider.issuer = `http://127.0.0.1:${provider.listener.address().port}/realm`;
    return provider;
  }

  get options() {
    return {
      'oidc.issuer': this.issuer,
      'oidc.client_id': 'moongate',
      'oidc.client_secret': this.secret,
      'oidc.name': 'Example',
      'accounts.public_url': 'http://moongate.example',
    };
  }

  #answer(request, response) {
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => {
      const body = Buffer.concat(parts).toString();
      this.seen.push(`${request.method} ${request.url}`);
      const [status, json] =
        request.url === '/realm/.well-known/openid-configuration'
          ? [200, this.#configuration()]
          : request.url === '/realm/token'
            ? this.#token(request, new URLSearchParams(body))
            : [404, {}];
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(json));
    });
  }

  #configuration() {
    return {
      issuer: this.claimedIssuer ?? this.issuer,
      authorization_endpoint: `${this.issuer}/authorize`,
      token_endpoint: `${this.issuer}/token`,
    };
  }

  #token(request, form) {
    const basic = `Basic ${Buffer.from(`moongate:${this.secret}`).toString('base64')}`;
    if (request.headers.authorization !== basic) return [401, { error: 'invalid_client' }];
    const grant = this.codes.get(form.get('code'));
    this.codes.delete(form.get('code'));
    const challenge = createHash('sha256').update(form.get('code_verifier')).digest('base64url');
    if (
      !grant ||
      grant.challenge !== challenge ||
      grant.redirect !== form.get('redirect_uri') ||
      form.get('grant_type') !== 'authorization_code'
    ) {
      return [400, { error: 'invalid_grant' }];
    }
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      iss: this.issuer,
      aud: 'moongate',
      exp: now + 300,
      iat: now,
      nonce: grant.nonce,
      ...grant.claims,
    };
    const token = [base64url({ alg: 'RS256', typ: 'JWT' }), base64url(claims), 'c2ln'].join('.');
    return [200, { access_token: 'x', token_type: 'Bearer', id_token: token }];
  }

  authorize(location, claims) {
    const url = new URL(location);
    const query = url.searchParams;
    assert.equal(url.origin + url.pathname, `${this.issuer}/authorize`);
    assert.equal(query.get('response_type'), 'code');
    assert.equal(query.get('client_id'), 'moongate');
    assert.equal(query.get('code_challenge_method'), 'S256');
    assert.match(query.get('scope'), /\bopenid\b.*\bemail\b/);
    const code = randomBytes(16).toString('hex');
    this.codes.set(code, {
      challenge: query.get('code_challenge'),
      redirect: query.get('redirect_uri'),
      nonce: query.get('nonce'),
      claims,
    });
    const back = new URL(query.get('redirect_uri'));
    back.searchParams.set('code', code);
    back.searchParams.set('state', query.get('state'));
    return back.pathname + back.search;
  }

  stop() {
    return new Promise((resolve) => this.listener.close(resolve));
  }
}
