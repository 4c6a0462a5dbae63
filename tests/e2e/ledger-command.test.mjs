// The books on the command line, beside a server that is running.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Server } from './lib/server.mjs';

describe('moongate ledger', () => {
  let server;
  before(async () => {
    server = await Server.start();
    await server.key({ name: 'first' });
  });
  after(() => server.stop());

  it('verify proves that the books agree', async () => {
    const { code, stdout, stderr } = await server.command('ledger', 'verify');
    assert.equal(code, 0, stderr + stdout);
    assert.match(stdout, /^The books agree\.$/m);
    const told = await server.command('ledger', 'verify', '--json');
    assert.equal(told.code, 0, told.stderr);
    const proof = JSON.parse(told.stdout);
    assert.deepEqual(proof.wrong, []);
    assert.equal(proof.ok, true);
    assert.equal(
      proof.granted_micros - proof.charged_micros - proof.held_micros,
      proof.balance_micros,
    );
  });

  it('export writes CSV with a head, and JSON lines', async () => {
    const csv = await server.command('ledger', 'export', '--format', 'csv');
    assert.equal(csv.code, 0, csv.stderr);
    const [head, ...rows] = csv.stdout.split('\r\n');
    assert.match(head, /^id,trace_id,ended,account_id,.*,client_gone$/);
    assert.equal(rows.pop(), '', 'the last line has an end');
    const lines = await server.command('ledger', 'export', '--format', 'jsonl');
    assert.equal(lines.code, 0, lines.stderr);
    const calls = lines.stdout.split('\n').filter(Boolean).map((l) => JSON.parse(l));
    for (const call of calls) assert.deepEqual(Object.keys(call), head.split(','));
  });

  it('refuses what it does not know', async () => {
    for (const wrong of [
      ['export'],
      ['export', '--format', 'xml'],
      ['export', '--format', 'csv', '--from', '2026-02-30'],
      ['export', '--format', 'csv', '--to', 'yesterday'],
      ['export', '--format', 'csv', '--json'],
      ['verify', '--format', 'csv'],
      ['verify', 'all'],
      ['burn'],
    ]) {
      const { code, stdout } = await server.command('ledger', ...wrong);
      assert.equal(code, 2, wrong.join(' '));
      assert.equal(stdout, '');
    }
    const unknown = await server.command(
      'ledger', 'export', '--format', 'csv', '--account', 'nobody@example.com',
    );
    assert.equal(unknown.code, 1);
    assert.match(unknown.stderr, /there is no account nobody@example\.com/);
  });
});
