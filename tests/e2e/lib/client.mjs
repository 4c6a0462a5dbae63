// An HTTP client that shows every byte and hands each answer to the contract. One connection a
// call, so that a test knows when the server sees it close.
import http from 'node:http';
import https from 'node:https';
import { checkAnswer, splitEvents } from './contract.mjs';

function encode(body) {
  if (body === undefined || typeof body === 'string' || Buffer.isBuffer(body)) return body;
  return JSON.stringify(body);
}

// Resolves with the answer once its head is there. `answer.end` is a promise of the whole.
export function open(origin, method, path, { key, headers = {}, body, signal, agent, ...connection } = {}) {
  const payload = encode(body);
  const sent = { ...headers };
  if (key !== undefined) sent.authorization ??= `Bearer ${key}`;
  if (payload !== undefined) {
    sent['content-type'] ??= 'application/json';
    if (!sent['transfer-encoding']) sent['content-length'] ??= Buffer.byteLength(payload);
  }
  return new Promise((resolve, reject) => {
    const request = (origin.startsWith('https:') ? https : http).request(origin, {
      ...connection, // ca, localAddress
      path,
      method,
      headers: sent,
      signal,
      agent: agent ?? false,
    });
    request.on('error', reject);
    request.on('response', (response) =>
      resolve(receive(request, response, { method, path, body })),
    );
    request.end(payload);
  });
}

function receive(request, response, { method, path, body }) {
  const answer = { status: response.statusCode, headers: response.headers, text: '', response };
  const listeners = new Set();
  const decoder = new TextDecoder();
  response.on('data', (bytes) => {
    answer.text += decoder.decode(bytes, { stream: true });
    for (const listener of listeners) listener();
  });
  const record = (complete) =>
    checkAnswer({
      method,
      path,
      request: typeof body === 'object' && !Buffer.isBuffer(body) ? body : undefined,
      status: answer.status,
      headers: answer.headers,
      body: answer.text,
      complete,
    });
  answer.end = new Promise((resolve, reject) => {
    let over = false;
    const finish = (complete) => {
      if (over) return;
      over = true;
      answer.complete = complete;
      try {
        record(complete);
        resolve(answer);
      } catch (error) {
        reject(error);
      }
      for (const listener of listeners) listener();
    };
    response.on('end', () => finish(response.complete));
    response.on('close', () => finish(false));
    response.on('error', () => finish(false));
  });
  answer.end.catch(() => {}); // who does not wait for the end learns of a failure by `recorded`
  pending.push(answer.end);
  answer.abort = () => {
    request.destroy();
    return answer.end;
  };
  Object.defineProperty(answer, 'json', { get: () => JSON.parse(answer.text) });
  Object.defineProperty(answer, 'events', { get: () => splitEvents(answer.text, false) });
  Object.defineProperty(answer, 'chunks', {
    get: () => answer.events.filter((e) => e !== '[DONE]').map((e) => JSON.parse(e)),
  });
  // Waits until predicate(answer) holds or the answer is over.
  answer.until = (predicate) =>
    new Promise((resolve, reject) => {
      const look = () => {
        if (!predicate(answer)) {
          if (answer.complete === undefined) return;
          listeners.delete(look);
          reject(new Error(`the answer ended before that: ${answer.text.slice(-500)}`));
          return;
        }
        listeners.delete(look);
        resolve(answer);
      };
      listeners.add(look);
      look();
    });
  return answer;
}

const pending = [];

/** Fails if any answer of this process did not fit, also one that no test waited for. */
export async function recorded() {
  while (pending.length > 0) await pending.shift();
}

/** The whole answer. */
export async function call(origin, method, path, options) {
  const answer = await open(origin, method, path, options);
  return answer.end;
}

/** Text of a choice, from a whole reply or from the chunks of a stream. */
export function textOf(answer, index = 0, field = 'content') {
  if (!answer.headers['content-type'].startsWith('text/event-stream')) {
    return answer.json.choices[index].message[field];
  }
  return answer.chunks
    .flatMap((chunk) => chunk.choices)
    .filter((choice) => choice.index === index)
    .map((choice) => choice.delta[field] ?? '')
    .join('');
}

export function finishOf(answer, index = 0) {
  return answer.chunks
    .flatMap((chunk) => chunk.choices)
    .find((choice) => choice.index === index && choice.finish_reason !== null)?.finish_reason;
}
