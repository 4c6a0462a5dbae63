// A scripted server in the place of an upstream: it reads requests as they come over a socket, and
// a script says byte by byte what goes back, also what no HTTP server would send. It notes when
// its peer lets go of each request, which is what tests of a leaving client look at.
//
//   const upstream = await Upstream.start((request, wire) => { wire.head(); wire.event({...}); });
//
// A script may be async; what it throws fails close(). A script that only answers is made by
// lib/dialects.mjs.
import http2 from 'node:http2';
import net from 'node:net';
import tls from 'node:tls';

const now = () => performance.now();

/** A promise with its resolve, and the value once it is there. */
function later() {
  const one = {};
  one.promise = new Promise((resolve) => {
    one.resolve = (value) => {
      if ('value' in one) return;
      one.value = value;
      resolve(value);
    };
  });
  return one;
}

function parseHead(text) {
  const [first, ...lines] = text.split('\r\n');
  const [method, path, version] = first.split(' ');
  const fields = lines.map((line) => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon), line.slice(colon + 1).trim()];
  });
  const headers = Object.fromEntries(fields.map(([name, value]) => [name.toLowerCase(), value]));
  return { method, path, version, fields, headers };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

// One request: {method, path, headers, text, body (parsed), at, gone, goneAt}. `gone` resolves with
// the time when the peer closed the connection (or reset the stream), before or after the answer.
function makeRequest(head, text, connection) {
  const request = { ...head, text, body: parsed(text), at: now(), connection };
  request.gone = connection.gone.then((at) => (request.goneAt = at));
  return request;
}

/** What a script writes with, over a socket. Promises resolve when the bytes are taken. */
class Wire {
  constructor(socket, request) {
    this.socket = socket;
    this.request = request;
    this.sent = 0;
    this.chunked = false;
  }

  get open() {
    return !this.socket.destroyed && this.socket.writable;
  }

  raw(bytes) {
    if (!this.open) return Promise.resolve();
    this.sent += Buffer.byteLength(bytes);
    return new Promise((resolve) => this.socket.write(bytes, () => resolve()));
  }

  /** The head. Without content-length or `connection: close` the body comes in chunks. */
  head(status = 200, headers = {}) {
    const fields = { 'content-type': 'text/event-stream', ...headers };
    const names = Object.keys(fields).map((name) => name.toLowerCase());
    this.chunked = !names.includes('content-length') && !names.includes('connection');
    if (this.chunked) fields['transfer-encoding'] = 'chunked';
    const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
    return this.raw(`HTTP/1.1 ${status} Scripted\r\n${lines.join('')}\r\n`);
  }

  chunk(bytes) {
    const length = Buffer.byteLength(bytes);
    if (!this.chunked) return this.raw(bytes);
    return this.raw(
      Buffer.concat([
        Buffer.from(`${length.toString(16)}\r\n`),
        Buffer.from(bytes),
        Buffer.from('\r\n'),
      ]),
    );
  }

  event(value) {
    return this.chunk(`data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`);
  }

  end() {
    this.ended = true;
    if (this.chunked) return this.raw('0\r\n\r\n');
    if (this.open) this.socket.end();
    return Promise.resolve();
  }

  whole(status, body, headers = {}) {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    this.head(status, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
      ...headers,
    });
    return this.raw(text);
  }

  close() {
    this.socket.end();
  }

  reset() {
    this.socket.resetAndDestroy();
  }

  /** Says no more; resolves when the peer has gone. */
  stall() {
    return this.request.gone;
  }
}

/** The same face over a stream of HTTP/2, as far as it has such things. */
class StreamWire {
  constructor(stream, request) {
    this.stream = stream;
    this.request = request;
    this.sent = 0;
  }

  get open() {
    return !this.stream.destroyed && this.stream.writable;
  }

  head(status = 200, headers = {}) {
    if (this.open)
      this.stream.respond({ ':status': status, 'content-type': 'text/event-stream', ...headers });
    return Promise.resolve();
  }

  chunk(bytes) {
    if (!this.open) return Promise.resolve();
    this.sent += Buffer.byteLength(bytes);
    return new Promise((resolve) => this.stream.write(bytes, () => resolve()));
  }

  event(value) {
    return this.chunk(`data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`);
  }

  end() {
    this.ended = true;
    if (this.open) this.stream.end();
    return Promise.resolve();
  }

  whole(status, body, headers = {}) {
    this.head(status, { 'content-type': 'application/json', ...headers });
    this.chunk(typeof body === 'string' ? body : JSON.stringify(body));
    return this.end();
  }

  reset() {
    this.stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
  }

  close() {
    this.stream.session.destroy();
  }

  stall() {
    return this.request.gone;
  }
}

export class Upstream {
  /**
   * script: (request, wire), or an array of them, one a request, the last again and again.
   * tls: options of node:tls ({key, cert}); h2: speaks HTTP/2, with tls or by prior knowledge.
   */
  static async start(script, { tls: secure, h2 = false, backlog } = {}) {
    const upstream = new Upstream();
    upstream.play(script);
    upstream.secure = Boolean(secure);
    upstream.requests = [];
    upstream.connections = [];
    upstream.failures = [];
    upstream.watchers = new Set();
    upstream.server = upstream.#listener(secure, h2);
    await new Promise((resolve, reject) => {
      upstream.server.once('error', reject);
      upstream.server.listen({ port: 0, host: '127.0.0.1', backlog }, resolve);
    });
    upstream.port = upstream.server.address().port;
    upstream.url = `${secure ? 'https' : 'http'}://127.0.0.1:${upstream.port}`;
    return upstream;
  }

  #listener(secure, h2) {
    if (h2) {
      const server = secure ? http2.createSecureServer(secure) : http2.createServer();
      server.on(secure ? 'secureConnection' : 'connection', (socket) => this.#track(socket));
      server.on('sessionError', () => {});
      server.on('stream', (stream, headers) => this.#stream(stream, headers));
      return server;
    }
    const serve = (socket) => this.#serve(socket).catch((error) => this.failures.push(error));
    if (!secure) return net.createServer(serve);
    const server = tls.createServer(secure, serve);
    server.on('tlsClientError', () => {});
    return server;
  }

  #track(socket) {
    const over = later();
    const connection = { socket, at: now(), gone: over.promise };
    const gone = () => {
      connection.goneAt ??= now();
      over.resolve(connection.goneAt);
    };
    for (const event of ['end', 'close', 'error']) socket.on(event, gone);
    this.connections.push(connection);
    this.#wake();
    return connection;
  }

  #wake() {
    for (const look of this.watchers) look();
  }

  async #serve(socket) {
    const connection = this.#track(socket);
    const more = [];
    let bytes = Buffer.alloc(0);
    let over = false;
    socket.setNoDelay(true);
    socket.on('data', (data) => {
      bytes = Buffer.concat([bytes, data]);
      while (more.length > 0) more.shift()();
    });
    connection.gone.then(() => {
      over = true;
      while (more.length > 0) more.shift()();
    });
    const wait = () => new Promise((resolve) => (over ? resolve() : more.push(resolve)));
    const take = (n) => {
      const front = bytes.subarray(0, n);
      bytes = bytes.subarray(n);
      return front;
    };
    const upTo = async (mark) => {
      let at;
      while ((at = bytes.indexOf(mark)) < 0) {
        if (over) return null;
        await wait();
      }
      return take(at + mark.length).subarray(0, at);
    };
    const exactly = async (n) => {
      while (bytes.length < n) {
        if (over) return null;
        await wait();
      }
      return take(n);
    };
    const chunks = async () => {
      const parts = [];
      for (;;) {
        const size = await upTo('\r\n');
        const part = size && (await exactly(parseInt(size.toString(), 16) + 2));
        if (!part) return null;
        if (part.length === 2) return Buffer.concat(parts);
        parts.push(part.subarray(0, -2));
      }
    };
    for (;;) {
      const front = await upTo('\r\n\r\n');
      if (!front) return;
      const head = parseHead(front.toString('latin1'));
      if (/100-continue/i.test(head.headers.expect ?? ''))
        socket.write('HTTP/1.1 100 Continue\r\n\r\n');
      const chunked = /chunked/i.test(head.headers['transfer-encoding'] ?? '');
      const body = chunked
        ? await chunks()
        : await exactly(Number(head.headers['content-length'] ?? 0));
      if (!body) return;
      const request = makeRequest(head, body.toString('utf8'), connection);
      await this.#run(request, new Wire(socket, request));
    }
  }

  #stream(stream, headers) {
    const parts = [];
    const over = later();
    stream.on('data', (data) => parts.push(data));
    stream.on('error', () => {});
    stream.on('close', () => over.resolve(now()));
    stream.on('end', () => {
      const head = {
        method: headers[':method'],
        path: headers[':path'],
        version: 'HTTP/2',
        headers,
      };
      const connection = { socket: stream.session?.socket, at: now(), gone: over.promise };
      const request = makeRequest(head, Buffer.concat(parts).toString('utf8'), connection);
      this.#run(request, new StreamWire(stream, request)).catch((e) => this.failures.push(e));
    });
  }

  async #run(request, wire) {
    const { script } = this;
    const one = Array.isArray(script) ? script[Math.min(this.played, script.length - 1)] : script;
    this.played++;
    request.wire = wire;
    this.requests.push(request);
    this.#wake();
    await one(request, wire);
  }

  /** What comes next is answered by this script. */
  play(script) {
    this.script = script;
    this.played = 0;
  }

  /** The chat requests alone, without probes. */
  get chats() {
    return this.requests.filter((request) => request.path.endsWith('/chat/completions'));
  }

  /** Waits until predicate(this) holds: it is looked at when a connection or request comes. */
  until(predicate, what = 'the upstream to be asked') {
    return within(
      new Promise((resolve) => {
        const look = () => {
          if (!predicate(this)) return;
          this.watchers.delete(look);
          resolve(this);
        };
        this.watchers.add(look);
        look();
      }),
      what,
    );
  }

  /** The n-th request, once it is there. */
  async asked(n = 1) {
    await this.until((u) => u.requests.length >= n, `request ${n}`);
    return this.requests[n - 1];
  }

  /** Ends all at once, and fails if a script did. */
  async close() {
    const closed = new Promise((resolve) => this.server.close(resolve));
    for (const { socket } of this.connections) socket.destroy();
    await closed;
    if (this.failures.length > 0) throw this.failures[0];
  }
}

/** The promise, which must be kept within a minute. */
export async function within(promise, what) {
  let timer;
  const late = new Promise((resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`waited a minute for: ${what}`)), 60_000);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A port on which nobody listens. */
export async function deadPort() {
  const server = net.createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}
