// Wraps fetch so that what it answers is held against the contract. A whole answer is read a
// second time from a clone. A stream is watched on its way instead: a clone would keep the
// connection open after the client under test has let go of it.
import { checkAnswer } from './contract.mjs';

/** Puts a stream that tells what passes in the place of response.body. */
function watch(response, checks, answer) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let body = '';
  let end;
  checks.push(
    new Promise((resolve, reject) => {
      end = (complete) => {
        try {
          resolve(checkAnswer({ ...answer, body, complete }));
        } catch (error) {
          reject(error);
        }
      };
    }),
  );
  checks.at(-1).catch(() => {});
  const passed = new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (done) {
          end(true);
          controller.close();
          return;
        }
        body += decoder.decode(value, { stream: true });
        controller.enqueue(value);
      } catch (error) {
        end(false); // aborted by the test
        controller.error(error);
      }
    },
    cancel(reason) {
      end(false);
      return reader.cancel(reason);
    },
  });
  Object.defineProperty(response, 'body', { value: passed });
}

async function checkClone(copy, answer) {
  checkAnswer({ ...answer, body: await copy.text() });
}

function parsed(body) {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

/** Call before the client under test is made; checked() fails if an answer did not fit. */
export function recordFetch() {
  const real = globalThis.fetch;
  const checks = [];
  globalThis.fetch = async (input, init) => {
    const response = await real(input, init);
    const headers = Object.fromEntries(response.headers.entries());
    const answer = {
      method: init?.method ?? 'GET',
      path: new URL(input instanceof Request ? input.url : input).pathname,
      request: parsed(init?.body),
      status: response.status,
      headers,
    };
    if (headers['content-type']?.startsWith('text/event-stream')) {
      watch(response, checks, answer);
    } else {
      checks.push(checkClone(response.clone(), answer));
      checks.at(-1).catch(() => {});
    }
    return response;
  };
  return {
    checked: async () => {
      globalThis.fetch = real;
      for (const one of checks) await one;
    },
  };
}
