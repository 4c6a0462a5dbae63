// Holds answers against openapi.yaml: the status must be described for the route, the headers and
// the body must fit, and a key that the description does not have is a failure. Every client of
// this suite hands what it saw to checkAnswer. A reply that an upstream made may have members of
// the upstream's own: a process that relays says so by `allowUpstreams`.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import Ajv2020 from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { parse } from 'yaml';

const text = readFileSync(new URL('../../../openapi.yaml', import.meta.url), 'utf8');
export const description = parse(text);

// Objects that list their properties and say nothing of others are closed. Branches of an allOf
// only narrow what another branch describes, so they stay open.
function close(schema) {
  if (Array.isArray(schema)) return schema.map(close);
  if (schema === null || typeof schema !== 'object') return schema;
  const out = {};
  for (const [key, value] of Object.entries(schema))
    out[key] = key === 'allOf' ? value : close(value);
  const isObject =
    schema.properties && (schema.type === 'object' || schema.type?.includes?.('object'));
  if (isObject && !('additionalProperties' in schema)) out.additionalProperties = false;
  return out;
}

const ajv = new Ajv2020({ strict: false, allErrors: true });
addFormats(ajv);
ajv.addSchema({ $id: 'api', components: { schemas: close(description.components.schemas) } });
ajv.addSchema({ $id: 'open', components: { schemas: description.components.schemas } });

let upstreams = false;

/** From here on replies are an upstream's: they are held to the description, and may have more. */
export function allowUpstreams() {
  upstreams = true;
}

const compiled = new Map();
function validator(schema, open) {
  const key = JSON.stringify([schema, open]);
  if (!compiled.has(key)) {
    const text = JSON.stringify(open ? schema : close(schema));
    compiled.set(
      key,
      ajv.compile(JSON.parse(text.replaceAll('"#/', `"${open ? 'open' : 'api'}#/`))),
    );
  }
  return compiled.get(key);
}

function fits(schema, value, what, open = false) {
  const validate = validator(schema, open);
  if (validate(value)) return;
  const errors = validate.errors.map(
    (e) => `${e.instancePath} ${e.message} ${JSON.stringify(e.params)}`,
  );
  assert.fail(
    `${what} does not fit the description:\n${errors.join('\n')}\n${JSON.stringify(value).slice(0, 2000)}`,
  );
}

export const schema = (name) => ({ $ref: `#/components/schemas/${name}` });
export const fitsSchema = (name, value) => fits(schema(name), value, name);

function resolve(node) {
  if (!node?.$ref) return node;
  return node.$ref
    .slice(2)
    .split('/')
    .reduce((at, key) => at[key], description);
}

const trim = (path) => (path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path);

// An {id} stands for one segment as the router takes it; exact paths go first.
const templates = Object.keys(description.paths)
  .filter((path) => path.includes('{'))
  .map((path) => [new RegExp(`^${path.replaceAll(/\{\w+\}/g, '[\\w.-]{1,64}')}$`), path]);

function itemFor(path) {
  const plain = trim(path.split('?')[0]);
  const template = templates.find(([pattern]) => pattern.test(plain));
  return description.paths[plain] ?? description.paths[template?.[1]];
}

// The response object that describes this answer, or null for a preflight.
function responseFor(method, path, status) {
  const item = itemFor(path);
  if (!item) {
    assert.equal(status, 404, `${path} is not described, so it must be a 404`);
    return description.components.responses.NoApi;
  }
  if (method === 'OPTIONS') {
    assert.equal(status, 204);
    return null;
  }
  const operation = item[(method === 'HEAD' ? 'get' : method).toLowerCase()];
  if (!operation) {
    assert.equal(status, 405, `${method} ${path} is not described, so it must be a 405`);
    return description.components.responses.MethodNotAllowed;
  }
  const response = operation.responses[String(status)];
  assert.ok(response, `${method} ${path} answered ${status}, which is not described`);
  return resolve(response);
}

function checkHeaders(response, headers) {
  for (const [name, ref] of Object.entries(response.headers ?? {})) {
    const header = resolve(ref);
    const value = headers[name];
    assert.ok(value !== undefined || !header.required, `the header ${name} is missing`);
    if (value !== undefined) fits(header.schema, value, `the header ${name}`);
  }
  assert.equal(headers['x-trace-id'], headers['x-request-id']);
}

// Splits a stream into events and holds the framing to what the strictest readers need.
export function splitEvents(text, complete = true) {
  assert.ok(!text.includes('\r'), 'a stream has no CR');
  const events = [];
  let rest = text;
  while (rest !== '') {
    const end = rest.indexOf('\n');
    if (end < 0) break;
    const line = rest.slice(0, end);
    if (line.startsWith(':')) {
      rest = rest.slice(end + 1);
      assert.ok(!rest.startsWith('\n'), 'a comment is ended by one LF');
      continue;
    }
    assert.ok(line.startsWith('data: '), `a line is no data: ${JSON.stringify(line.slice(0, 80))}`);
    if (rest.length < end + 2) break;
    assert.equal(rest[end + 1], '\n', 'an event is one line');
    events.push(line.slice(6));
    rest = rest.slice(end + 2);
  }
  if (complete) assert.equal(rest, '', 'a stream ends after an event');
  return events;
}

function checkOrder(chunks) {
  const choices = new Map();
  let usageSeen = false;
  for (const chunk of chunks) {
    assert.equal(chunk.id, chunks[0].id);
    assert.equal(chunk.created, chunks[0].created);
    assert.equal(chunk.model, chunks[0].model);
    assert.ok(!usageSeen, 'nothing follows the usage chunk');
    if (chunk.choices.length === 0) {
      assert.ok(chunk.usage, 'a chunk without choices has usage');
      usageSeen = true;
      continue;
    }
    assert.equal(chunk.usage, null);
    for (const choice of chunk.choices) checkChoice(choices, choice);
  }
  return choices;
}

// An upstream's deltas are passed on as they came, so their order is its own.
function checkChoice(choices, { index, delta, finish_reason: finish }) {
  if (!choices.has(index)) {
    assert.deepEqual(delta, { content: '', role: 'assistant' }, 'the first chunk has the role');
    choices.set(index, { content: false, finished: false });
    return;
  }
  const choice = choices.get(index);
  assert.ok(!choice.finished, 'nothing follows the finish of a choice');
  assert.equal(delta.reasoning, delta.reasoning_content);
  if (!upstreams) {
    assert.ok(!('role' in delta), 'the role comes once');
    assert.ok(!delta.reasoning || !choice.content, 'reasoning comes before content');
    if (finish) assert.deepEqual(delta, {}, 'the chunk with the reason has an empty delta');
  }
  choice.content ||= Boolean(delta.content);
  choice.finished = Boolean(finish);
}

// `complete`: the stream came to its end by itself; one that was cut is checked as far as it goes.
function checkStream(media, headers, body, complete) {
  assert.equal(headers['cache-control'], 'no-cache');
  const nginx = headers.server?.startsWith('nginx'); // takes the next one for itself
  assert.equal(headers['x-accel-buffering'], nginx ? undefined : 'no');
  const events = splitEvents(body, complete);
  const done = events.indexOf('[DONE]');
  assert.ok(done < 0 || done === events.length - 1, 'nothing follows [DONE]');
  const values = events.filter((e) => e !== '[DONE]').map((e) => JSON.parse(e));
  const chunks = values.filter((v) => !('error' in v));
  const errors = values.filter((v) => 'error' in v);
  for (const value of chunks) fits(media['x-event-schema'], value, 'an event', upstreams);
  for (const value of errors) fits(media['x-event-schema'], value, 'an event');
  const choices = checkOrder(chunks);
  if (errors.length > 0) {
    assert.equal(errors.length, 1);
    assert.equal(values.at(-1), errors[0], 'an error is the last event');
    assert.ok(done < 0, 'no [DONE] after an error');
    assert.equal(errors[0].trace_id, headers['x-trace-id']);
  } else if (complete) {
    assert.ok(done >= 0, 'a whole stream ends in [DONE]');
    for (const choice of choices.values()) assert.ok(choice.finished, 'every choice has a finish');
  }
}

function checkRequest(method, path, request) {
  const body = resolve(itemFor(path)[method.toLowerCase()].requestBody);
  fits(body.content['application/json'].schema, request, `the request of ${method} ${path}`);
}

/**
 * answer: {method, path, request, status, headers, body, complete}. `headers` has lower-case
 * names, `body` is text, `request` the JSON value that was sent, if it was one.
 */
export function checkAnswer(answer) {
  const { method, path, status, headers, body, complete = true } = answer;
  const response = responseFor(method, path, status);
  if (!response) {
    for (const name of ['origin', 'methods', 'headers']) {
      assert.ok(headers[`access-control-allow-${name}`], `a preflight needs allow-${name}`);
    }
    assert.equal(body, '');
    return;
  }
  checkHeaders(response, headers);
  const type = (headers['content-type'] ?? '').split(';')[0];
  // Pages, and the console's own routes, are for pages of the same origin.
  const own = path.startsWith('/console/') || type === 'text/html';
  assert.equal(headers['access-control-allow-origin'], own ? undefined : '*');
  if (!response.content) {
    assert.equal(body, '');
    return;
  }
  const media = response.content[type];
  assert.ok(media, `the content type ${type} is not described for ${method} ${path} ${status}`);
  if (method === 'HEAD') {
    assert.equal(body, '');
    return;
  }
  if (type === 'text/event-stream') {
    checkStream(media, headers, body, complete);
  } else if (type === 'application/json' && complete) {
    const value = JSON.parse(body);
    const open = upstreams && status === 200 && path.includes('chat/completions');
    fits(media.schema, value, `the body of ${method} ${path} ${status}`, open);
    if (status >= 400) assert.equal(value.trace_id, headers['x-trace-id']);
  }
  if (status < 300 && method !== 'GET' && answer.request)
    checkRequest(method, path, answer.request);
}
