// Guessing passwords, and asking without end: who fails, or asks too often, must wait. A process
// counts by itself.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Browser, account, password, someone } from './lib/console.mjs';
import { Server, until } from './lib/server.mjs';

const other = 'another horse battery';

describe('a password', () => {
  it('is not guessed: who fails waits, the right one included', async () => {
    const server = await Server.start({
      set: { 'accounts.login_tries': 3, 'accounts.first_wait': '2s' },
    });
    try {
      const owner = await someone(server, 'ada@example.com');
      const guess = (secret) => new Browser(server).logIn('ada@example.com', secret);
      for (let i = 0; i < 3; i++) assert.equal((await guess(`guess number ${i}`)).status, 401);
      const waits = await guess(password);
      assert.equal(waits.status, 429);
      assert.equal(waits.json.error.code, 'too_many_requests');
      assert.ok(Number(waits.headers['retry-after']) >= 1);
      // A session that somebody has guesses no faster.
      const change = await owner.post('/console/api/password', {
        old_password: password,
        new_password: other,
      });
      assert.equal(change.status, 429);
      assert.equal((await someone(server, 'bob@example.com')).id, owner.id + 1, 'others go on');
      await until(async () => (await guess(password)).status === 200, 'the wait to end');
      await server.stop();
    } finally {
      await server.kill();
    }
  });

  it('is not guessed by many at once', async () => {
    const server = await Server.start({ set: { 'accounts.login_tries': 5 } });
    try {
      await account(server, 'create', 'ada@example.com');
      const answers = await Promise.all(
        Array.from({ length: 40 }, (_, i) =>
          new Browser(server).logIn('ada@example.com', `guess number ${i}`),
        ),
      );
      const judged = answers.filter((a) => a.status === 401).length;
      assert.ok(judged >= 1 && judged <= 5, `${judged} guesses were judged`);
      await server.stop();
    } finally {
      await server.kill();
    }
  });

  it('is not guessed over many accounts from one network', async () => {
    const server = await Server.start({
      set: { 'accounts.login_tries': 100, 'accounts.network_tries': 5 },
    });
    try {
      let last;
      for (let i = 0; i < 8; i++) last = await new Browser(server).logIn(`a${i}@example.com`, other);
      assert.equal(last.status, 429);
      await server.stop();
    } finally {
      await server.kill();
    }
  });
});

describe('a wait', () => {
  it('does not tell whether there is an account', async () => {
    const strict = await Server.start({ set: { 'accounts.login_tries': 2 } });
    try {
      await account(strict, 'create', 'known@example.com');
      const tries = async (email) => {
        const seen = [];
        for (let i = 0; i < 4; i++) {
          const answer = await new Browser(strict).logIn(email, other);
          seen.push([answer.status, answer.json.error.code]);
        }
        return seen;
      };
      const known = await tries('known@example.com');
      assert.equal(known.at(-1)[0], 429);
      assert.deepEqual(await tries('other@example.com'), known);
      await strict.stop();
    } finally {
      await strict.kill();
    }
  });

  it('comes to whoever asks for a new password without end', async () => {
    const server = await Server.start();
    try {
      const browser = new Browser(server);
      let answer;
      for (let i = 0; i < 20; i++) {
        answer = await browser.post('/console/api/reset', { email: 'flooded@example.com' });
        if (answer.status !== 202) break;
      }
      assert.equal(answer.status, 429);
      assert.ok(Number(answer.headers['retry-after']) > 0);
      await server.stop();
    } finally {
      await server.kill();
    }
  });
});
