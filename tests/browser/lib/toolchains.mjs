// The languages of the code pane: how a file that a person saved is run, and whether this machine
// can. Python's packages are in the folder venv (tools/browser.sh makes it), JavaScript's are those
// of the end-to-end tests.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const venv = process.env.SNIPPETS_VENV ?? here('../venv');
const python = join(venv, 'bin/python');

const answers = (program, args = ['--version']) => spawnSync(program, args).status === 0;
const compiles = (program, header) =>
  spawnSync('sh', ['-c', `echo '#include <${header}>' | ${program} -fsyntax-only -xc -`]).status ===
  0;

/** Java's text blocks came with 15, Go's strings.CutPrefix with 1.20. */
function versionOf(program, args, pattern) {
  const { stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  const found = pattern.exec(`${stdout}${stderr}`);
  return found ? Number(found[1]) : 0;
}

/** id: as in the page; steps: what is run, the last is the program; missing(): what is not here. */
export const toolchains = [
  {
    id: 'curl',
    file: 'call.sh',
    steps: [['sh', 'call.sh']],
    missing: () => !answers('curl') && 'curl',
  },
  ...['python', 'python-openai'].map((id) => ({
    id,
    file: 'call.py',
    steps: [[python, 'call.py']],
    missing: () =>
      !(existsSync(python) && answers(python, ['-c', 'import requests, openai'])) &&
      'Python with requests and openai',
  })),
  ...['javascript', 'javascript-openai'].map((id) => ({
    id,
    file: 'call.mjs',
    steps: [[process.execPath, 'call.mjs']],
    missing: () => false,
  })),
  {
    id: 'java',
    file: 'Main.java',
    steps: [
      ['javac', 'Main.java'],
      ['java', '-cp', '.', 'Main'],
    ],
    missing: () => versionOf('javac', ['-version'], /javac (\d+)/) < 15 && 'a JDK of 15 or later',
  },
  {
    id: 'go',
    file: 'main.go',
    steps: [['go', 'build', '-o', 'main', 'main.go'], ['./main']],
    missing: () => versionOf('go', ['version'], /go1\.(\d+)/) < 20 && 'Go 1.20 or later',
  },
  {
    id: 'php',
    file: 'call.php',
    steps: [['php', 'call.php']],
    missing: () =>
      !answers('php', ['-r', 'exit(function_exists("curl_init") ? 0 : 1);']) && 'PHP with curl',
  },
  {
    id: 'c',
    file: 'main.c',
    steps: [['cc', 'main.c', '-lcurl'], ['./a.out']],
    missing: () => !compiles('cc', 'curl/curl.h') && 'a C compiler with libcurl',
  },
];

/** A program that runs: `output` grows, `end` resolves with {code, output, errors}. */
export class Run {
  static async start(chain, code, env) {
    const run = new Run();
    run.folder = mkdtempSync(join(tmpdir(), 'moongate-snippet-'));
    writeFileSync(join(run.folder, chain.file), code);
    symlinkSync(here('../../e2e/node_modules'), join(run.folder, 'node_modules'));
    const steps = [...chain.steps];
    const last = steps.pop();
    for (const step of steps) {
      const { code: status, output, errors } = await run.#spawn(step, env).end;
      if (status !== 0) throw new Error(`${step.join(' ')}: ${output}${errors}`);
    }
    return run.#spawn(last, env);
  }

  #spawn([program, ...args], env) {
    this.ended = false;
    this.output = '';
    this.errors = '';
    const child = spawn(program, args, {
      cwd: this.folder,
      env: { ...process.env, NO_PROXY: '*', no_proxy: '*', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stdout.setEncoding('utf8').on('data', (text) => (this.output += text));
    child.stderr.setEncoding('utf8').on('data', (text) => (this.errors += text));
    this.child = child;
    this.end = new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, signal) => {
        this.ended = true;
        resolve({ code: code ?? signal, output: this.output, errors: this.errors });
      });
    });
    return this;
  }

  clean() {
    this.child?.kill('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
  }
}
