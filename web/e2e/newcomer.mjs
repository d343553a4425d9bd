/** A server without any model, and somebody who knows nothing of the page but the words they see. */
import assert from "node:assert/strict";
import { api, composer, test, visit } from "./harness.mjs";

const registry = process.env.LAIR_TEST_REGISTRY;

/** Clicks on words that can be seen, as a person does. */
async function press(page, words) {
  // A button that waits for something to be written is not what one presses.
  const seen = page.getByText(words, { exact: true }).and(page.locator(":not(:disabled)")).filter({ visible: true }).first();
  await seen.waitFor();
  await seen.click();
}

test("newcomer: two clicks lead to a first model, which arrives wherever one is", async () => {
  assert.deepEqual((await api("/api/tags")).models, [], "this server has no model yet");
  const { page, close } = await visit("/");
  const asked = [];
  await page.route("**/lair/v1/downloads", (route) => {
    if (route.request().method() !== "POST") return route.continue();
    asked.push(route.request().postDataJSON().model);
    return route.fulfill({ json: { id: "d1" } });
  });
  // Writing without a model is answered too.
  await composer(page).fill("Hello?");
  await composer(page).press("Enter");
  await page.getByText("No models here yet.").waitFor();
  assert.equal(await composer(page).inputValue(), "Hello?", "what was written stays");
  await press(page, "Get a model");
  // A click is done before its request is on the way.
  const answer = page.waitForResponse((response) => response.url().endsWith("/lair/v1/downloads") && response.request().method() === "POST");
  await press(page, "Download");
  await answer;
  assert.equal(asked.length, 1);
  assert.match(asked[0], /smollm2/);
  await page.unroute("**/lair/v1/downloads");
  if (registry) {
    const name = `${registry}/acme/tiny`;
    await page.getByPlaceholder("hf.co/owner/name:Q4_K_M").fill(name);
    await page.getByText("Download", { exact: true }).last().click();
    await page.getByText("downloading").waitFor();
    await press(page, "Chat");
    await page.locator(`[data-download="${name}"]`).getByText("downloading").waitFor();
    await press(page, "Server");
    await fetch(`http://${registry}/gate`);
    await page.getByText(`${name} is here now.`).waitFor();
    await press(page, "Chat");
    await page.getByLabel("Choose a model").getByText(name).waitFor({ state: "attached" });
  }
  await close();
});

test("newcomer: chat, downloads, settings, comparing and keys are found by their words", async () => {
  const { page, close } = await visit("/");
  await page.getByText("What shall we talk about?").waitFor();
  await press(page, "Settings");
  await page.getByText("System prompt", { exact: true }).waitFor();
  await page.getByText("Temperature", { exact: true }).waitFor();
  await page.keyboard.press("Escape");
  await press(page, "Models");
  for (const words of ["On this machine", "Get models", "Download"]) await page.getByText(words, { exact: true }).first().waitFor();
  await press(page, "Compare");
  await page.getByText("one after the other").waitFor();
  await press(page, "Arena");
  await page.getByText("Two models answer without their names.").waitFor();
  await press(page, "Measurements");
  await page.getByText("Open results", { exact: true }).waitFor();
  await press(page, "Server");
  for (const words of ["Address", "Programs to copy", "Keys", "Create key"]) await page.getByText(words, { exact: true }).waitFor();
  await press(page, "Theme");
  await press(page, "Dark");
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
  await close();
});
