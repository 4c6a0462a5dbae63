// Debian's Chromium, and in it people: each has a context of their own (cookies, storage, language,
// appearance) whose pages are watched all the time. A console error, an exception, a breach of the
// Content-Security-Policy or a request to another host fails the test in which it came.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { until } from '../../e2e/lib/server.mjs';

const program = process.env.CHROMIUM ?? '/usr/bin/chromium';
const PATIENCE_MS = 20_000;

/** What Chromium is started with: nothing that speaks to another host by itself. */
const flags = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
];

const policyWatch = () =>
  document.addEventListener('securitypolicyviolation', (event) =>
    console.error(`policy ${event.violatedDirective} forbids ${event.blockedURI}`),
  );

export const startChromium = () =>
  chromium.launch({ executablePath: program, headless: true, args: flags });

export class Person {
  #context;
  #failures = new Set();
  #underWay = new Set();

  /** browser: an e2e Browser whose session is taken over; mayFail: statuses that are part of it. */
  static async enter(chromium, server, options = {}) {
    const {
      browser,
      mayFail = [],
      dark = false,
      width = 1280,
      height = 900,
      locale = 'en-US',
    } = options;
    const person = new Person();
    person.server = server;
    person.problems = [];
    person.#failures = new Set(mayFail);
    person.#context = await chromium.newContext({
      baseURL: server.origin,
      locale,
      colorScheme: dark ? 'dark' : 'light',
      viewport: { width, height },
      permissions: ['clipboard-read', 'clipboard-write'],
      reducedMotion: 'reduce',
    });
    person.#context.setDefaultTimeout(PATIENCE_MS);
    await person.#context.addInitScript(policyWatch);
    person.#watch();
    if (browser) await person.take(browser);
    person.page = await person.tab();
    return person;
  }

  get context() {
    return this.#context;
  }

  tab() {
    return this.#context.newPage();
  }

  /** Goes on with the session of a Browser of the end-to-end tests. */
  take(browser) {
    const url = this.server.origin;
    const cookies = [...browser.cookies].map(([name, value]) => ({ name, value, url }));
    return this.#context.addCookies(cookies);
  }

  #watch() {
    this.#context.on('console', (message) => {
      if (message.type() !== 'error') return;
      const failed = /Failed to load resource: .* status of (\d+)/.exec(message.text());
      if (failed && this.#failures.has(Number(failed[1]))) return;
      this.problems.push(`console: ${message.text()} (${message.location().url})`);
    });
    this.#context.on('weberror', (error) => this.problems.push(`exception: ${error.error()}`));
    for (const end of ['requestfinished', 'requestfailed'])
      this.#context.on(end, (request) => this.#underWay.delete(request));
    this.#context.on('request', (request) => {
      this.#underWay.add(request);
      const url = request.url();
      if (
        !url.startsWith(`${this.server.origin}/`) &&
        !url.startsWith('data:') &&
        !url.startsWith('blob:')
      )
        this.problems.push(`a request to ${url}`);
    });
  }

  /** Waits until nothing is under way and two frames have been painted since. */
  quiet(page = this.page) {
    return until(async () => {
      if (this.#underWay.size > 0) return false;
      await page.evaluate(
        () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))),
      );
      return this.#underWay.size === 0;
    }, 'the page to be quiet');
  }

  copied(page = this.page) {
    return page.evaluate(() => navigator.clipboard.readText());
  }

  async leave() {
    await this.#context.close();
    assert.deepEqual(this.problems, []);
  }

  /** After a failure: what the person saw, into the folder that BROWSER_SHOTS names. */
  async shoot(name) {
    const folder = process.env.BROWSER_SHOTS;
    if (folder) {
      mkdirSync(folder, { recursive: true });
      const file = `${name.replace(/[^\w]+/g, '-').slice(0, 80)}.png`;
      await this.page.screenshot({ path: join(folder, file), fullPage: true }).catch(() => {});
    }
    await this.#context.close();
  }
}

/** Runs work(person, test) for a person who is gone afterwards and had no problem. */
export function visit(stage, options, work) {
  return async (test) => {
    const person = await Person.enter(
      stage.chromium,
      stage.server,
      options instanceof Function ? options() : options,
    );
    try {
      await work(person.page, person);
    } catch (error) {
      await person.shoot(test.name);
      if (person.problems.length > 0)
        error.message += `\nand before it: ${person.problems.join('\n')}`;
      throw error;
    }
    await person.leave();
  };
}
