// Scripts that answer as the servers of the field do: each spells reasoning and usage in its own
// way and adds members of its own. What is said is the same for all of them:
//
//   {reasoning: [texts], content: [texts], tools: [arrays of tool-call deltas], finish,
//    usage: {prompt, completion, cached, reasoning}, n, more (members of each chunk)}
const text = (parts) => (parts ?? []).join('');

function plainUsage(u) {
  return {
    prompt_tokens: u.prompt,
    completion_tokens: u.completion,
    total_tokens: u.prompt + u.completion,
  };
}

function nestedUsage(u) {
  return {
    ...plainUsage(u),
    prompt_tokens_details: { cached_tokens: u.cached ?? 0, audio_tokens: 0 },
    completion_tokens_details: { reasoning_tokens: u.reasoning ?? 0, audio_tokens: 0 },
  };
}

// reasoning: the member's name; usage(u): the object; extra(where): members added to a chunk,
// a choice; usageAt: where the usage of a stream stands.
const servers = {
  openai: {
    reasoning: 'reasoning_content',
    usage: nestedUsage,
    usageAt: 'chunk',
    chunk: { service_tier: 'default', system_fingerprint: 'fp_up', obfuscation: 'aB3' },
    choice: { logprobs: null },
    nullUsage: true,
  },
  vllm: {
    reasoning: 'reasoning',
    usage: (u) => ({ ...plainUsage(u), prompt_tokens_details: { cached_tokens: u.cached ?? 0 } }),
    usageAt: 'chunk',
    chunk: {},
    choice: { logprobs: null, stop_reason: null, token_ids: null },
  },
  moonshot: {
    reasoning: 'reasoning_content',
    usage: (u) => ({ ...plainUsage(u), cached_tokens: u.cached ?? 0 }),
    usageAt: 'choice',
    chunk: { system_fingerprint: 'fpv0_up' },
    choice: {},
  },
  llama: {
    reasoning: 'reasoning_content',
    usage: plainUsage,
    usageAt: 'chunk',
    chunk: { system_fingerprint: 'b6000-up' },
    choice: {},
    timings: (u) => ({ cache_n: u.cached ?? 0, prompt_n: u.prompt, predicted_n: u.completion }),
  },
  sglang: {
    reasoning: 'reasoning_content',
    usage: (u) => ({
      ...plainUsage(u),
      prompt_tokens_details: { cached_tokens: u.cached ?? 0 },
      reasoning_tokens: u.reasoning ?? 0,
    }),
    usageAt: 'chunk',
    chunk: {},
    choice: { logprobs: null, matched_stop: null },
    nullUsage: true,
  },
};

export const dialects = Object.keys(servers);
const spoken = {
  content: ['Hello', ' there'],
  finish: 'stop',
  usage: { prompt: 11, completion: 7 },
};

/** The chunks of a stream, without [DONE]. */
export function chunksOf(said = {}, dialect = 'openai', model = 'upstream-model') {
  const s = servers[dialect];
  const say = { ...spoken, ...said };
  const { usage } = say;
  const chunk = (choices, more = {}) => ({
    id: 'chatcmpl-of-the-upstream',
    object: 'chat.completion.chunk',
    created: 1700000000,
    model,
    ...s.chunk,
    choices,
    ...(s.nullUsage ? { usage: null } : {}),
    ...say.more,
    ...more,
  });
  const choice = (index, delta, finish = null, more = {}) => ({
    index,
    delta,
    ...s.choice,
    finish_reason: finish,
    ...more,
  });
  const chunks = [];
  for (let index = 0; index < (say.n ?? 1); index++) {
    const add = (delta, finish, more) => chunks.push(chunk([choice(index, delta, finish, more)]));
    add({ role: 'assistant', content: '' });
    for (const part of say.reasoning ?? []) add({ [s.reasoning]: part });
    for (const part of say.content ?? []) add({ content: part });
    for (const part of say.tools ?? []) add({ tool_calls: part });
    const inside = usage && s.usageAt === 'choice' ? { usage: s.usage(usage) } : {};
    if (say.finish) add({}, say.finish, inside);
  }
  if (usage) {
    const timings = s.timings ? { timings: s.timings(usage) } : {};
    chunks.push(chunk([], { usage: s.usage(usage), ...timings }));
  }
  return chunks;
}

// Whole calls out of their deltas, by index and then by id.
function wholeCalls(tools) {
  const calls = [];
  for (const delta of tools.flat()) {
    let call = calls.findLast((c) => c.index === delta.index && (!delta.id || c.id === delta.id));
    if (!call) {
      call = {
        index: delta.index,
        id: delta.id,
        type: 'function',
        function: { name: '', arguments: '' },
      };
      calls.push(call);
    }
    call.function.name += delta.function?.name ?? '';
    call.function.arguments += delta.function?.arguments ?? '';
  }
  return calls.map(({ index, ...call }) => call);
}

/** The body of a whole reply. */
export function wholeOf(said = {}, dialect = 'openai', model = 'upstream-model') {
  const s = servers[dialect];
  const say = { ...spoken, ...said };
  const message = { role: 'assistant', content: say.content ? text(say.content) : null };
  if (say.reasoning) message[s.reasoning] = text(say.reasoning);
  if (say.tools) message.tool_calls = wholeCalls(say.tools);
  return {
    id: 'chatcmpl-of-the-upstream',
    object: 'chat.completion',
    created: 1700000000,
    model,
    ...s.chunk,
    choices: Array.from({ length: say.n ?? 1 }, (_, index) => ({
      index,
      message,
      ...s.choice,
      finish_reason: say.finish,
    })),
    ...(say.usage ? { usage: s.usage(say.usage) } : {}),
    ...(s.timings && say.usage ? { timings: s.timings(say.usage) } : {}),
    ...say.more,
  };
}

/** A script that says it, whole or as a stream as the request asks. */
export function reply(said = {}, dialect = 'openai') {
  return async (request, wire) => {
    const model = request.body?.model;
    if (!request.body?.stream) return wire.whole(200, wholeOf(said, dialect, model));
    wire.head();
    for (const chunk of chunksOf(said, dialect, model)) await wire.event(chunk);
    wire.event('[DONE]');
    return wire.end();
  };
}

/** A script that sends one piece of content, tells of it, and leaves the rest to `rest`. */
export function begin(rest, said = { content: ['Once'] }) {
  return async (request, wire) => {
    const [role, first] = chunksOf(said, 'openai', request.body?.model);
    wire.head();
    await wire.event(role);
    await wire.event(first);
    return rest(request, wire);
  };
}

/** A script that refuses: an object is sent as JSON, a text as it is. */
export function refuse(status, body = { error: { message: 'no' } }, headers = {}) {
  return (request, wire) =>
    wire.whole(
      status,
      body,
      typeof body === 'string' ? { 'content-type': 'text/html', ...headers } : headers,
    );
}

export const openaiError = (message, more = {}) => ({
  error: { message, type: 'invalid_request_error', param: null, code: null, ...more },
});
