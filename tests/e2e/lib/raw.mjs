// A client that sends bytes as a test gives them, whatever HTTP says, and reads what comes back.
import net from 'node:net';
import { checkAnswer } from './contract.mjs';

export class Raw {
  static connect(port) {
    const raw = new Raw();
    raw.bytes = Buffer.alloc(0);
    raw.closed = false;
    raw.waiting = new Set();
    raw.socket = net.connect(port, '127.0.0.1');
    raw.socket.setNoDelay(true);
    raw.socket.on('data', (data) => {
      raw.bytes = Buffer.concat([raw.bytes, data]);
      raw.wake();
    });
    raw.socket.on('error', () => {}); // a reset is a close to this client
    raw.socket.on('close', () => {
      raw.closed = true;
      raw.wake();
    });
    return new Promise((resolve, reject) => {
      raw.socket.once('connect', () => resolve(raw));
      raw.socket.once('error', reject);
    });
  }

  wake() {
    for (const look of this.waiting) look();
  }

  send(data) {
    return new Promise((resolve) => {
      if (this.closed || this.socket.destroyed) return resolve();
      this.socket.write(data, () => resolve());
    });
  }

  /** One whole answer, taken off the front; null if the connection closes before it has begun. */
  answer({ method = 'GET', path = '/healthz', check = true } = {}) {
    return new Promise((resolve, reject) => {
      const look = () => {
        const answer = this.take(method);
        if (!answer && !this.closed) return;
        this.waiting.delete(look);
        if (!answer) {
          if (this.bytes.length > 0) reject(new Error(`half an answer: ${this.bytes}`));
          else resolve(null);
          return;
        }
        try {
          if (check) checkAnswer({ method, path, ...answer });
          resolve(answer);
        } catch (error) {
          reject(error);
        }
      };
      this.waiting.add(look);
      look();
    });
  }

  // Answers with a Content-Length alone: streams are for the other client.
  take(method) {
    const text = this.bytes.toString('latin1');
    const end = text.indexOf('\r\n\r\n');
    if (end < 0) return null;
    const [first, ...lines] = text.slice(0, end).split('\r\n');
    const headers = Object.fromEntries(
      lines.map((line) => {
        const colon = line.indexOf(':');
        return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
      }),
    );
    const status = Number(first.split(' ')[1]);
    const length = method === 'HEAD' || status < 200 ? 0 : Number(headers['content-length'] ?? 0);
    if (this.bytes.length < end + 4 + length) return null;
    const body = this.bytes.subarray(end + 4, end + 4 + length).toString('utf8');
    this.bytes = this.bytes.subarray(end + 4 + length);
    return { status, headers, body, line: first };
  }

  untilClosed() {
    return new Promise((resolve) => {
      const look = () => {
        if (!this.closed) return;
        this.waiting.delete(look);
        resolve();
      };
      this.waiting.add(look);
      look();
    });
  }

  destroy() {
    this.socket.destroy();
  }
}

export function head(path, key, lines = [], method = 'POST') {
  return [
    `${method} ${path} HTTP/1.1`,
    'Host: localhost',
    ...(key ? [`Authorization: Bearer ${key}`] : []),
    ...lines,
    '',
    '',
  ].join('\r\n');
}
