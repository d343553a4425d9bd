/**
 * A browser for tests of the page: every page notes what ran wrong and every request that left the server.
 *
 * `LAIR_TEST_URL` is the server, `LAIR_TEST_CHROMIUM` the browser. Nothing waits for a time; what is waited for has a limit
 * only so that a test that never ends says what it waited for.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const WAIT_MAX_MS = Number(process.env.LAIR_TEST_WAIT_MS ?? 90_000);

export const base = process.env.LAIR_TEST_URL ?? "http://127.0.0.1:11434";
export const model = process.env.LAIR_TEST_MODEL ?? "told:latest";
const executablePath = process.env.LAIR_TEST_CHROMIUM ?? "/usr/bin/chromium";

let browser;

export async function launch() {
  browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"] });
  return browser;
}

const TYPES = { html: "text/html", js: "text/javascript", css: "text/css", svg: "image/svg+xml", woff2: "font/woff2" };

/** `LAIR_TEST_DIST`: built files in place of the server's own, to try changes without building the server again. */
async function serveFiles(context, folder) {
  const policy = (await fetch(base, { headers: { Accept: "text/html" } })).headers.get("content-security-policy") ?? "";
  const send = (route, name) => route.fulfill({ body: readFileSync(`${folder}/${name}`), headers: { "Content-Type": TYPES[name.split(".").pop()], "Content-Security-Policy": policy } });
  await context.route(`${base}/`, (route) => send(route, "index.html"));
  await context.route(`${base}/page/*`, (route) => send(route, new URL(route.request().url()).pathname.split("/").pop()));
}

/**
 * `LAIR_TEST_DELAY_MS`, `LAIR_TEST_SLOWDOWN`: each request is held for up to so long, and what the page computes takes so many
 * times longer. What a test takes for granted on a quick machine without waiting for it then fails.
 */
const DELAY_MS = Number(process.env.LAIR_TEST_DELAY_MS ?? 0);
const SLOWDOWN = Number(process.env.LAIR_TEST_SLOWDOWN ?? 1);

async function slowDown(page) {
  if (SLOWDOWN > 1) await (await page.context().newCDPSession(page)).send("Emulation.setCPUThrottlingRate", { rate: SLOWDOWN });
}

/** A page of a new user; `uses` is the model that was chosen last. What goes wrong in it fails the test when it is closed. */
export async function visit(path = "/", { width = 1280, height = 800, key, uses, locale = "en-US", colorScheme = "light", allowed = [] } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, locale, colorScheme, acceptDownloads: true });
  context.setDefaultTimeout(WAIT_MAX_MS);
  const wrong = [];
  const origin = new URL(base).origin;
  await context.route("**/*", async (route) => {
    if (DELAY_MS > 0) await new Promise((resolve) => setTimeout(resolve, Math.random() * DELAY_MS));
    const url = route.request().url();
    if (url.startsWith(origin) || /^(?:blob|data):/.test(url)) return route.continue();
    wrong.push(`a request left the server: ${url}`);
    return route.abort();
  });
  if (process.env.LAIR_TEST_DIST) await serveFiles(context, process.env.LAIR_TEST_DIST);
  if (key) await context.addInitScript((text) => localStorage.setItem("lair.key", text), key);
  if (uses) await context.addInitScript((name) => localStorage.setItem("lair.model", name), uses);
  const page = await context.newPage();
  await slowDown(page);
  page.on("pageerror", (error) => wrong.push(`error: ${error.message}\n${error.stack}`));
  page.on("dialog", (dialog) => {
    wrong.push(`a dialog of a script: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on("console", (message) => {
    if (message.type() !== "error") return;
    const text = `console: ${message.text()} ${message.location().url}`;
    if (!allowed.some((pattern) => pattern.test(text))) wrong.push(text);
  });
  await page.goto(base + path);
  return {
    page,
    async close() {
      await context.close();
      assert.deepEqual([...new Set(wrong)].slice(0, 8), []);
    },
  };
}

/** Asks the server beside the page. */
export async function api(path, body, { method, key } = {}) {
  const headers = { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  const response = await fetch(base + path, {
    method: method ?? (body === undefined ? "GET" : "POST"),
    headers,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  assert.ok(response.ok, `${path}: ${response.status} ${text}`);
  return text ? JSON.parse(text) : undefined;
}

/** A conversation on the server: `[role, content]` pairs, each answering the one before. */
export async function conversation(title, turns, settings = {}) {
  const messages = turns.map(([role, content, extra = {}], index) => ({
    id: `m${index}`,
    parent_id: index ? `m${index - 1}` : null,
    role,
    content,
    extra,
    created_ms: Date.now(),
  }));
  const id = `t${Math.random().toString(36).slice(2)}`;
  const one = { id, title, model, settings, leaf_id: `m${turns.length - 1}`, updated_ms: Date.now(), messages };
  await api("/lair/v1/import", { data: { format: "lair-conversations", version: 1, conversations: [one] } });
  const { conversations } = await api(`/lair/v1/conversations?search=${encodeURIComponent(title)}`);
  return conversations[0].id;
}

/** Settings under which the tiny model's answers are short and the same each time. */
export const calm = { temperature: 0, max_tokens: 12, seed: 1 };

export function composer(page) {
  return page.getByRole("textbox", { name: "Write a message" });
}

export async function say(page, text) {
  await composer(page).fill(text);
  await composer(page).press("Enter");
}

/** Waits until nothing is on its way to the server and no answer is coming. */
export async function answered(page) {
  await page.locator("[role=log][aria-busy=false]").waitFor();
}

const tests = [];

export function test(name, run) {
  tests.push({ name, run });
}

/** Runs the tests whose names have these words; without words all but those that need or leave another server. */
export async function runAll(words) {
  await launch();
  let failed = 0;
  for (const { name, run } of tests.filter((one) => (words ? one.name.includes(words) : !/^(?:keys|newcomer):/.test(one.name)))) {
    const start = performance.now();
    try {
      await run();
      console.log(`ok      ${name} (${Math.round(performance.now() - start)} ms)`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED  ${name}\n${error.stack}`);
    }
  }
  await browser.close();
  return failed;
}
