// What people do in the console, in English.
import assert from 'node:assert/strict';
import { password } from '../../e2e/lib/console.mjs';

export { password };

export const button = (at, name) => at.getByRole('button', { name, exact: true });

export async function signUp(page, email, secret = password) {
  await page.getByLabel('E-mail address').fill(email);
  await page.getByLabel('Password', { exact: true }).fill(secret);
  await button(page.getByRole('main'), 'Sign up').click();
}

export async function logIn(page, email, secret = password) {
  await page.getByLabel('E-mail address').fill(email);
  await page.getByLabel('Password', { exact: true }).fill(secret);
  await button(page.getByRole('main'), 'Log in').click();
}

/** Closes the dialog that shows a new key once; gives the key. */
export async function takeKey(page, title) {
  const dialog = page.getByRole('dialog', { name: title });
  const key = await dialog.locator('code').innerText();
  assert.match(key, /^mg-[\w-]{43}$/);
  await button(dialog, 'I have it').click();
  await dialog.waitFor({ state: 'detached' });
  return key;
}

export const reply = (page) => page.getByRole('region', { name: 'Reply' });

export const code = (page) => page.getByRole('region', { name: 'Code', exact: true });

/** Presses Try; the reply is there when `done` is. */
export async function tryIt(page) {
  await button(page, 'Try').click();
}

export const untilSaid = (page, text) =>
  reply(page).getByRole('status').getByText(text).waitFor({ state: 'attached' });

export const untilDone = (page) => untilSaid(page, 'The reply is complete.');

/** The code of a language as it stands in the page. */
export async function codeOf(page, id) {
  await page.locator(`#code-panel-${id}`).click();
  await page.locator(`#code-panel-${id}[aria-selected="true"]`).waitFor();
  return page.locator('#code-panel .long').evaluate((long) => long.textContent);
}

/** The one row of a fault: its words, code, and trace id. */
export async function fault(at) {
  const note = at.getByRole('alert');
  await note.waitFor();
  const trace = note.locator('.trace code');
  return {
    words: await note.locator('strong').innerText(),
    code: await note.locator('.tag').innerText(),
    trace: (await trace.count()) > 0 ? await trace.innerText() : null,
  };
}
