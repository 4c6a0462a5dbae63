// What the documentation promises of the configuration: what is there to paste is good, and no
// option is left out.
import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parse } from 'yaml';
import { folder, run } from './lib/server.mjs';

const page = (name) => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8');
const upstreams = page('docs/upstreams.md');
const blocks = [...upstreams.matchAll(/^### (.*?)\n.*?^```yaml\n(.*?)^```$/gms)];

describe('docs/upstreams.md', () => {
  it('has a configuration for each kind of server', () => {
    assert.ok(blocks.length >= 6);
  });

  for (const [, title, text] of blocks) {
    it(`has one that is good: ${title}`, async () => {
      const data = folder();
      try {
        const file = join(data, 'moongate.yaml');
        writeFileSync(file, text);
        const env = { ...process.env };
        for (const { key_env: name } of parse(text).backends) if (name) env[name] = 'sk-1';
        const checked = await run(['config', 'check', '--config', file], { env });
        assert.equal(checked.code, 0, checked.stdout + checked.stderr);
      } finally {
        rmSync(data, { recursive: true });
      }
    });
  }

  it('names every option of routing and of backends', () => {
    const defaults = page('moongate.yaml');
    const names = Object.keys(parse(defaults).routing).map((name) => `routing.${name}`);
    const list = defaults.slice(defaults.indexOf('# What answers for the models'));
    for (const [, name] of list.matchAll(/^# {3}([a-z0-9_]+):/gm)) names.push(name);
    assert.ok(names.includes('routing.tries') && names.includes('idle_timeout'));
    for (const name of names) assert.ok(upstreams.includes(`\n| \`${name}\` |`), name);
  });
});
