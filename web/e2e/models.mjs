/** Models, comparing, the arena, measurements, the server's page, keys. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { answered, api, base, composer, conversation, model, say, test, visit } from "./harness.mjs";

const registry = process.env.LAIR_TEST_REGISTRY;

/** Bytes as the page writes them in English. */
function sizeText(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const step = Math.floor(Math.log10(bytes) / 3);
  const value = bytes / 1000 ** step;
  const digits = step > 0 && value < 100 ? 1 : 0;
  return `${value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })} ${units[step]}`;
}

test("a model is loaded with an estimate, kept in memory and unloaded", async () => {
  await api("/api/generate", { model, keep_alive: 0, stream: false });
  const { page, close } = await visit("/#/models", { allowed: [/\/lair\/v1\/fit/] });
  const row = page.locator(`[data-model="${model}"]`);
  await row.getByRole("button", { name: "Load", exact: true }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("heading", { name: `Load ${model}` }).waitFor();
  // A server without the estimator says so; both are sentences in the dialog.
  await dialog.locator("[data-testid=estimate], .notice").first().waitFor();
  const estimate = dialog.locator("[data-testid=estimate]");
  if (await estimate.count()) {
    await dialog.getByRole("slider").fill("256");
    await dialog.getByLabel("Keys and values").selectOption("f16");
    const fit = await api(`/lair/v1/fit?model=${encodeURIComponent(model)}&context=256&kv_type=f16`);
    assert.equal(fit.context_length, 256);
    // The dialog says what the API says.
    await estimate.getByText(sizeText(fit.memory.kv_bytes)).waitFor();
    await dialog.getByRole("button", { name: "Load", exact: true }).click();
    await row.getByText(/^in memory .* context 256 · f16$/).waitFor();
    // What the dialog said is what the server did; now with a length that is typed, in place of what runs.
    await row.getByRole("button", { name: /^More/ }).click();
    await page.getByRole("menuitem", { name: "Load with other settings…" }).click();
    assert.equal(await dialog.getByRole("spinbutton").inputValue(), "256");
    await dialog.getByRole("spinbutton").fill("300");
    await dialog.getByRole("button", { name: "Load", exact: true }).click();
    await row.getByText(/context 300 · f16$/).waitFor();
    const [loaded] = (await api("/api/ps")).models.filter((one) => one.name === model);
    assert.deepEqual([loaded.context_length, loaded.kv_type], [300, "f16"]);
    // From a chat too, whose gauge then counts to the new length.
    await row.getByRole("button", { name: "Chat", exact: true }).click();
    await page.getByRole("button", { name: "Settings of this chat" }).click();
    await page.getByTestId("context").getByText("300 tokens").waitFor();
    await page.getByRole("button", { name: "Change…" }).click();
    await page.getByRole("spinbutton", { name: "Context in tokens" }).fill("280");
    await page.getByRole("button", { name: "Load", exact: true }).click();
    await page.getByTestId("context").getByText("280 tokens").waitFor();
    await page.getByRole("dialog").getByRole("button", { name: "Close" }).click();
    await composer(page).fill("How long?");
    await page.getByTestId("gauge").getByText("of 280 tokens").waitFor();
    await page.getByRole("link", { name: "Models" }).click();
  } else {
    await dialog.getByRole("button", { name: "Load", exact: true }).click();
  }
  await row.getByText(/^in memory/).waitFor();
  await row.getByRole("button", { name: /^More/ }).click();
  await page.getByRole("menuitem", { name: "Keep in memory" }).click();
  await row.getByText(/^kept in memory/).waitFor();
  assert.ok((await api("/api/ps")).models.some((one) => one.name === model));
  await row.getByRole("button", { name: /^More/ }).click();
  await page.getByRole("menuitem", { name: "Unload" }).click();
  await row.getByRole("button", { name: "Load", exact: true }).waitFor();
  await close();
});

if (registry) {
  test("a download is paused, gone on with, and its model answers", async () => {
    const name = `${registry}/acme/tiny`;
    const { page, close } = await visit("/#/models");
    await page.getByRole("textbox", { name: "Name of a model to download" }).fill(name);
    await page.getByRole("button", { name: "Download", exact: true }).last().click();
    const row = page.locator(`[data-download="${name}"]`);
    await row.getByText("downloading").waitFor();
    await row.getByRole("button", { name: `Pause: ${name}` }).click();
    await row.getByText("paused").waitFor();
    // From now on the registry sends all that it is asked for.
    await fetch(`http://${registry}/gate`);
    await row.getByRole("button", { name: `Resume: ${name}` }).click();
    await row.getByText("done", { exact: true }).waitFor();
    await page.locator(`[data-model^="${name}"]`).waitFor();
    const said = await api("/api/generate", { model: name, prompt: "Once", raw: true, stream: false, options: { num_predict: 4 } });
    assert.equal(said.eval_count, 4);
    await close();
  });
}

test("every quantization of a repository has its size, whether it fits, and how fast it would be", async () => {
  const name = "hf.co/acme/bard-GGUF";
  const { page, close } = await visit("/#/models");
  const quants = [["Q4_K_M", 4e9, 21.5], ["Q8_0", 8e12, 0.1]];
  const offer = { name, description: "", licence: null, size_bytes: null, needs_bytes: null, downloads: 1234, is_gated: false, has_choices: true };
  await page.route("**/lair/v1/search?*", (route) => route.fulfill({ json: { offers: [offer], note: null, available_bytes: 1e10 } }));
  await page.route("**/lair/v1/files?*", (route) => route.fulfill({ json: { files: quants.map(([quant, size]) => ({ name: `${name}:${quant}`, size_bytes: size, needs_bytes: size * 1.2 })) } }));
  await page.route("**/lair/v1/fit?*", (route) => route.fulfill({ json: { model: name, quants: quants.map(([quant, , speed]) => ({ model: `${name}:${quant}`, speed: { decode_tokens_per_second: speed } })) } }));
  await page.getByRole("searchbox", { name: "Search models" }).fill("bard");
  await page.getByRole("button", { name: "Search", exact: true }).click();
  await page.getByRole("button", { name: `Choose a file: ${name}` }).click();
  const rows = page.locator(".file");
  await rows.nth(0).getByText("≈ 21.5 tokens/s").waitFor();
  for (const words of ["Q4_K_M · 4.0 GB", "fits well"]) await rows.nth(0).getByText(words).waitFor();
  for (const words of ["Q8_0 · 8.0 TB", "too large for this machine", "≈ 0.1 tokens/s"]) await rows.nth(1).getByText(words).waitFor();
  await close();
});

test("two models answer one prompt side by side", async () => {
  await api("/api/copy", { source: "told", destination: "told-again" });
  const { page, close } = await visit("/#/compare");
  await page.getByLabel("Longest answer in tokens").fill("8");
  await page.getByLabel("Model A", { exact: true }).last().selectOption(model);
  await page.getByLabel("Model B", { exact: true }).last().selectOption("told-again:latest");
  await page.getByRole("textbox", { name: "One prompt for both" }).fill("Once upon a time");
  await page.getByRole("button", { name: "Run both" }).click();
  for (const side of ["Model A", "Model B"]) await page.getByRole("region", { name: side }).getByText("to first token").waitFor();
  const texts = await page.locator(".lanes .markdown").allInnerTexts();
  assert.equal(texts[0], texts[1], "the same weights say the same");
  await close();
});

test("votes in the arena make a table with intervals", async () => {
  await api("/api/copy", { source: "told", destination: "told-again" });
  const { page, close } = await visit("/#/arena");
  // The list is there as a whole, and only then is it looked through.
  await page.getByRole("checkbox", { name: "told-again:latest" }).waitFor();
  const only = new Set([model, "told-again:latest"]);
  for (const label of await page.locator("fieldset label").all()) if (!only.has((await label.innerText()).trim())) await label.getByRole("checkbox").uncheck();
  for (let round = 1; round <= 2; round++) {
    await page.getByRole("textbox", { name: "One prompt for both" }).fill(`Round ${round}`);
    await page.getByRole("button", { name: "Run both" }).click();
    assert.equal(await page.getByRole("region", { name: "Left" }).getByText("told").count(), 0, "nobody is named before the vote");
    await page.getByRole("button", { name: "Left is better" }).click();
    await page.locator(".lanes .badge.good").nth(1).waitFor();
    await page.getByText(`By ${round} vote${round > 1 ? "s" : ""}.`).waitFor();
  }
  assert.equal(await page.locator("table.bars tr").count(), 2);
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Export votes" }).click()]);
  const votes = JSON.parse(readFileSync(await file.path(), "utf8"));
  assert.equal(votes.length, 2);
  assert.ok(votes[0].winner === "a" && votes[0].prompt === "Round 1" && votes[0].answer_a);
  await close();
});

test("results of measurements become charts that stay", async () => {
  const path = join(tmpdir(), `lair-results-${process.pid}.json`);
  const result = (value) => ({ test: "tg128", unit: "tokens/s", median: value, min: value - 1, max: value + 1, limit: 80, percent_of_limit: 70 });
  writeFileSync(path, JSON.stringify({ model: { name: "one", file_type: "Q4_K_M" }, results: [result(56)] }));
  const { page, close } = await visit("/#/bench");
  await page.locator("input[data-results]").setInputFiles(path);
  await page.getByRole("rowheader", { name: "one Q4_K_M" }).waitFor();
  await page.reload();
  await page.getByText("56.0").waitFor();
  await page.getByRole("button", { name: /^Remove lair-results/ }).click();
  await page.getByText("lair bench MODEL --json").waitFor();
  await close();
});

test("a preset is saved, applied and exported as a Modelfile", async () => {
  const id = await conversation("Preset", [["user", "a"], ["assistant", "b"]], { system: "Speak like {{who}}.", temperature: 0.25 });
  const { page, close } = await visit(`/#/chat/${id}`);
  await page.locator("article.assistant").waitFor();
  await page.getByRole("button", { name: "Settings of this chat" }).click();
  await page.getByRole("textbox", { name: "who" }).fill("a pirate");
  await page.getByRole("textbox", { name: "who" }).press("Tab");
  const act = async (name) => {
    await page.getByRole("button", { name: "More", exact: true }).click();
    await page.getByRole("menuitem", { name }).click();
  };
  await act("Save as preset");
  await page.getByRole("textbox", { name: "Name of the preset" }).fill("Pirate");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.getByRole("dialog", { name: "Save as preset" }).waitFor({ state: "detached" });
  const [file] = await Promise.all([page.waitForEvent("download"), act("Export Modelfile")]);
  assert.equal(readFileSync(await file.path(), "utf8"), `FROM ${model}\nPARAMETER temperature 0.25\nSYSTEM """Speak like a pirate."""\n`);
  await page.getByRole("dialog").getByRole("button", { name: "Close" }).click();
  await page.goto(`${base}/#/chat`);
  await page.getByRole("heading", { name: "What shall we talk about?" }).waitFor();
  await page.getByRole("button", { name: "Settings of this chat" }).click();
  await page.getByLabel("Preset", { exact: true }).selectOption("Pirate");
  assert.equal(await page.getByLabel("Temperature").inputValue(), "0.25");
  await close();
});

/** The program that is shown, once the page knows a model to put into it. */
async function snippet(page) {
  const place = page.locator("[data-testid=snippet]", { hasText: model });
  await place.waitFor();
  return place.innerText();
}

test("the server's page shows what runs, and its snippets run as printed", async () => {
  await api("/api/generate", { model, prompt: "Once", raw: true, stream: false, options: { num_predict: 2 } });
  const { page, close } = await visit("/#/server", { uses: model });
  await page.getByText("Tokens per second").waitFor();
  await page.getByText(/\d answers?, /).waitFor();
  const code = await snippet(page);
  const said = JSON.parse(execFileSync("sh", ["-c", code], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }));
  assert.ok(said.choices[0].message.content);
  await close();
});

test("keys: the record of a request shows the exact prompt", async () => {
  await api("/api/chat", { model, messages: [{ role: "user", content: "Line one\nline two" }], stream: false, options: { num_predict: 3 } });
  const { page, close } = await visit("/#/server", { uses: model });
  const row = page.getByRole("row", { name: /\/api\/chat.*3 tokens/ });
  await row.getByRole("button").click();
  const prompt = await page.locator("[data-testid=prompt]").innerText();
  // As the template of this model makes it, after the token that begins a text.
  assert.match(prompt, /user: Line one\nline two\nassistant:$/);
  assert.equal(await page.getByRole("row", { name: /\/api\/create/ }).count(), 0);
  await page.getByRole("dialog").getByRole("button", { name: "Close" }).click();
  await page.getByLabel("Also requests without an answer of a model").check();
  await page.getByRole("row", { name: /\/api\/create/ }).first().waitFor();
  await close();
});

test("keys: the first key closes the server, the page goes on, and a client uses another one", async () => {
  const { page, close } = await visit("/#/server", { uses: model, allowed: [/401/] });
  await page.getByRole("textbox", { name: "Name of a new key" }).fill("owner");
  await page.getByRole("button", { name: "Create key" }).click();
  await page.getByText("The key owner was made.").waitFor();
  assert.equal((await fetch(`${base}/api/tags`)).status, 401);
  await page.getByRole("textbox", { name: "Name of a new key" }).fill("client");
  await page.getByRole("button", { name: "Create key" }).click();
  await page.getByText("The key client was made.").waitFor();
  const key = await page.locator("[data-testid=key]").innerText();
  const code = (await snippet(page)).replace("YOUR-KEY", key);
  const said = JSON.parse(execFileSync("sh", ["-c", code], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }));
  assert.ok(said.choices[0].message.content);
  const python = process.env.LAIR_TEST_PYTHON;
  for (const library of ["openai", "ollama", "anthropic"]) {
    if (!python || spawnSync(python, ["-c", `import ${library}`]).status !== 0) continue;
    await page.getByRole("button", { name: `Python, ${library}` }).click();
    const program = (await snippet(page)).replace("YOUR-KEY", key);
    assert.ok(execFileSync(python, ["-c", program], { encoding: "utf8" }).trim());
  }
  const guest = await visit("/", { allowed: [/401/] });
  const field = guest.page.locator("input[type=password]");
  await field.fill("wrong");
  await guest.page.getByRole("button", { name: "Enter", exact: true }).click();
  await guest.page.getByText("The server does not take this key.").waitFor();
  await field.fill(key);
  await guest.page.getByRole("button", { name: "Enter", exact: true }).click();
  await guest.page.getByRole("dialog").waitFor({ state: "detached" });
  await composer(guest.page).waitFor();
  await guest.page.getByLabel("Choose a model").selectOption(model);
  await say(guest.page, "Hello");
  await guest.page.locator("article.assistant").getByText("tokens/s").waitFor();
  await answered(guest.page);
  await guest.close();
  // Requests with this key are rows too.
  const own = page.getByRole("row", { name: /client/ }).filter({ has: page.getByRole("button", { name: "Take back" }) });
  await own.getByRole("button", { name: "Take back" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Take back" }).click();
  await own.waitFor({ state: "detached" });
  assert.equal((await fetch(`${base}/api/tags`, { headers: { Authorization: `Bearer ${key}` } })).status, 401);
  await close();
});
