/** Chats: the first answer, stop, edit, branches, reload, search, settings. */
import assert from "node:assert/strict";
import { answered, api, calm, composer, conversation, say, test, visit } from "./harness.mjs";

/** Sets how many bytes a second the page gets, -1 for all: the tiny model is done in a blink, a slow line leaves time to act. */
async function line(page) {
  const session = await page.context().newCDPSession(page);
  return (downloadThroughput) => session.send("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput, uploadThroughput: -1 });
}

/** A promise with what fulfils it. */
function later() {
  let resolve;
  return { promise: new Promise((done) => (resolve = done)), resolve };
}

test("first visit to first answer, and a reload keeps all", async () => {
  const { page, close } = await visit();
  await page.getByRole("heading", { name: "What shall we talk about?" }).waitFor();
  await page.getByRole("button", { name: "Settings of this chat" }).click();
  await page.getByLabel("Longest answer in tokens").fill("12");
  await page.getByLabel("Seed").fill("1");
  await page.getByRole("button", { name: "Close", exact: true }).click();
  await say(page, "Once upon a time there was a zebra");
  await page.locator("article.assistant").getByText("tokens/s").waitFor();
  await answered(page);
  const text = await page.locator("article.assistant .markdown").innerText();
  assert.ok(text.trim().length > 0);
  assert.match(page.url(), /#\/chat\/\w+/);
  await page.reload();
  await page.getByText("Once upon a time there was a zebra").last().waitFor();
  assert.equal(await page.locator("article.assistant .markdown").innerText(), text);
  const found = await api("/lair/v1/conversations?search=ZEBRA");
  assert.equal(found.conversations[0].title, "Once upon a time there was a zebra");
  await close();
});

test("an answer is stopped, kept, gone on with and made again", async () => {
  const id = await conversation("Stopping", [["user", "Tell a long story"], ["assistant", "It was"]], { temperature: 0, max_tokens: 400, seed: 1 });
  const { page, close } = await visit(`/#/chat/${id}`);
  await page.getByText("Tell a long story").last().waitFor();
  const slow = await line(page);
  await slow(6000);
  await say(page, "And then?");
  await page.locator("article.assistant").nth(1).locator(".markdown").waitFor();
  await page.getByRole("button", { name: "Stop", exact: true }).click();
  await slow(-1);
  await page.getByText("Stopped").waitFor();
  await answered(page);
  const last = page.locator("article.assistant").nth(1);
  const stopped = await last.locator(".markdown").innerText();
  let kept = await api(`/lair/v1/conversations/${id}`);
  assert.equal(kept.messages.at(-1).extra.finish, "stopped");
  assert.ok(kept.messages.at(-1).content.trim().startsWith(stopped.trim().slice(0, 20)));
  await api(`/lair/v1/conversations/${id}`, { settings: calm });
  await page.reload();
  await last.locator(".markdown").waitFor();
  const length = (await last.locator(".markdown").innerText()).length;
  await last.getByRole("button", { name: "Continue" }).click();
  await page.waitForFunction((before) => document.querySelectorAll("article.assistant .markdown")[1].innerText.length > before, length);
  await answered(page);
  await last.hover();
  await last.getByRole("button", { name: "Answer again" }).click();
  await last.getByText("2 of 2").waitFor();
  await answered(page);
  await last.getByRole("button", { name: "Previous version" }).click();
  await last.getByText("1 of 2").waitFor();
  kept = await api(`/lair/v1/conversations/${id}`);
  assert.equal(kept.messages.length, 5);
  await close();
});

test("an answer goes on while another conversation is looked at", async () => {
  const long = await conversation("Long story", [["user", "Begin"], ["assistant", "It was"]], { temperature: 0, max_tokens: 200, seed: 1 });
  await conversation("Short story", [["user", "Meanwhile"], ["assistant", "elsewhere"]], calm);
  const { page, close } = await visit(`/#/chat/${long}`);
  await page.locator("article.assistant").waitFor();
  const slow = await line(page);
  await slow(9000);
  await say(page, "Go on");
  await page.locator("article.assistant").nth(1).locator(".markdown").waitFor();
  await page.getByRole("link", { name: "Short story" }).click();
  await page.getByText("elsewhere").waitFor();
  assert.equal(await page.getByRole("button", { name: "Stop", exact: true }).count(), 0, "nothing comes here");
  await page.getByRole("link", { name: /The model is answering.*Long story/ }).click();
  await page.getByRole("button", { name: "Stop", exact: true }).waitFor();
  await slow(-1);
  await page.locator("article.assistant").nth(1).getByText("200 tokens").waitFor();
  await answered(page);
  assert.equal((await api(`/lair/v1/conversations/${long}`)).messages.at(-1).extra.timings.predicted_n, 200);
  await close();
});

test("a message goes where it was written, once, and what does not arrive is not lost", async () => {
  const [here, there] = [await conversation("Written here", [["user", "a"], ["assistant", "b"]], calm), await conversation("Looked at then", [["user", "c"], ["assistant", "d"]], calm)];
  const { page, close } = await visit(`/#/chat/${here}`, { allowed: [/ERR_FAILED/] });
  await page.locator("article.assistant").waitFor();
  const messages = "**/lair/v1/conversations/*/messages";
  const [asked, released] = [later(), later()];
  const sent = [];
  await page.route(messages, async (route) => {
    asked.resolve(sent.push(route.request().postDataJSON().content));
    await released.promise;
    await route.continue();
  });
  await say(page, "For here");
  await asked.promise;
  // Who is quicker than the line sends nothing twice.
  await say(page, "Too early");
  assert.equal(await composer(page).inputValue(), "Too early");
  await page.getByRole("link", { name: "Looked at then" }).click();
  await page.locator("article.user").getByText("c", { exact: true }).waitFor();
  assert.deepEqual(sent, ["For here"]);
  released.resolve();
  await page.getByRole("link", { name: "Written here" }).click();
  await page.locator("article.assistant").nth(1).getByText("tokens/s").waitFor();
  await answered(page);
  const said = async (id) => (await api(`/lair/v1/conversations/${id}`)).messages.map(({ role, content }) => (role === "user" ? content : role));
  assert.deepEqual(await said(here), ["a", "assistant", "For here", "assistant"]);
  assert.deepEqual(await said(there), ["c", "assistant"]);
  await page.unroute(messages);
  await page.route(messages, (route) => route.abort());
  await say(page, "Never arrives");
  await page.waitForFunction(() => document.querySelector("[data-composer]").value === "Never arrives");
  await page.locator("article.user").nth(1).getByRole("button", { name: "Edit message" }).click();
  await page.getByRole("textbox", { name: "Edit message" }).fill("Nor this");
  await page.getByRole("button", { name: "Save and send" }).click();
  await page.waitForFunction(() => document.querySelector("article.user textarea")?.value === "Nor this");
  await close();
  assert.equal((await said(here)).length, 4);
});

test("a message is edited into a branch, copied and deleted", async () => {
  const id = await conversation("Branching", [["user", "One fish"], ["assistant", "Two fish."]], calm);
  const { page, close } = await visit(`/#/chat/${id}`);
  const user = page.locator("article.user").first();
  await user.getByText("One fish").waitFor();
  await user.getByRole("button", { name: "Edit message" }).click();
  await page.getByRole("textbox", { name: "Edit message" }).fill("Red fish");
  await page.getByRole("button", { name: "Save and send" }).click();
  await user.getByText("2 of 2").waitFor();
  await answered(page);
  assert.equal((await api(`/lair/v1/conversations/${id}`)).messages.length, 4);
  await user.getByRole("button", { name: "Previous version" }).click();
  await page.getByText("Two fish.").waitFor();
  await page.locator("article.assistant").getByRole("button", { name: "Copy into a new conversation from here" }).click();
  // Until the copy is there the other one stands on the page.
  await page.waitForFunction(() => document.title.startsWith("Branching (branch)"));
  assert.ok(!page.url().includes(id));
  const copied = await api("/lair/v1/conversations?search=Branching (branch)");
  assert.equal((await api(`/lair/v1/conversations/${copied.conversations[0].id}`)).messages.length, 2);
  await page.locator("article.user").getByRole("button", { name: "Delete from here on" }).click();
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await page.getByText("Two fish.").waitFor({ state: "detached" });
  assert.equal((await api(`/lair/v1/conversations/${copied.conversations[0].id}`)).messages.length, 0);
  await close();
});

test("each token shows how likely it was, and what else was", async () => {
  const id = await conversation("Chances", [["user", "Say"], ["assistant", "so."]], calm);
  const { page, close } = await visit(`/#/chat/${id}`);
  await page.locator("article.assistant").waitFor();
  await page.getByRole("button", { name: "Settings of this chat" }).click();
  await page.getByText("Advanced", { exact: true }).click();
  await page.getByLabel("Show how likely each token was").check();
  await page.getByRole("dialog").getByRole("button", { name: "Close" }).click();
  await say(page, "Go on");
  const last = page.locator("article.assistant").nth(1);
  await last.getByText("tokens/s").waitFor();
  await answered(page);
  await last.getByText("Token probabilities").click();
  const tokens = last.locator(".tokens button");
  const { messages } = await api(`/lair/v1/conversations/${id}`);
  const { chances } = messages.at(-1).extra;
  assert.equal(await tokens.count(), chances.length);
  assert.equal((await tokens.allInnerTexts()).join("").trim(), messages.at(-1).content.trim());
  await tokens.nth(1).click();
  const rows = last.locator("table.plain tr");
  assert.equal(await rows.count(), 5);
  // What the server measured, the likeliest first; without chance that is the one that was taken.
  const shown = (await rows.locator("td.number").allInnerTexts()).map((text) => Number.parseFloat(text));
  for (const [index, { logprob }] of chances[1].top.entries()) assert.ok(Math.abs(shown[index] - Math.exp(logprob) * 100) < 0.06, `${shown}`);
  assert.equal(await rows.first().evaluate((row) => row.classList.contains("own")), true);
  await close();
});

test("the gauge says what the tokenizer counts", async () => {
  const id = await conversation("Counting", [["user", "How many?"], ["assistant", "Some."]], { ...calm, system: "Count." });
  const { page, close } = await visit(`/#/chat/${id}`);
  await say(page, "Once more");
  await page.locator("article.assistant").nth(1).getByText("tokens/s").waitFor();
  await answered(page);
  const words = "Ten green bottles";
  await composer(page).fill(words);
  const { messages } = await api(`/lair/v1/conversations/${id}`);
  const prompt = [{ role: "system", content: "Count." }, ...messages.map(({ role, content }) => ({ role, content })), { role: "user", content: words }];
  const { tokens } = await api("/tokenize", { model: "told", messages: prompt });
  await page.locator(`[data-testid=gauge][data-used="${tokens.length}"]`).waitFor();
  await close();
});

test("conversations are found, named, pinned, foldered, exported, imported and deleted from the list", async () => {
  const id = await conversation("Walrus facts", [["user", "Do walruses sing?"], ["assistant", "They do."]]);
  const { page, close } = await visit(`/#/chat/${id}`);
  await page.getByRole("searchbox", { name: "Search conversations" }).fill("WALRUSES");
  const row = page.getByRole("link", { name: "Walrus facts" });
  await row.getByText("Do walruses sing?").waitFor();
  const act = async (name) => {
    await page.getByRole("button", { name: /^Actions for this conversation: (Walrus|Seal)/ }).click();
    await page.getByRole("menuitem", { name, exact: true }).click();
  };
  await act("Rename");
  await page.getByRole("textbox", { name: "Name" }).fill("Seal facts");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("link", { name: "Seal facts" }).waitFor();
  await act("Pin");
  await page.getByRole("heading", { name: "Pinned" }).waitFor();
  await act("Unpin");
  await page.getByRole("heading", { name: "Pinned" }).waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Import and export" }).click();
  await page.getByRole("menuitem", { name: "New folder" }).click();
  await page.getByRole("textbox", { name: "Name of the folder" }).fill("Animals");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("heading", { name: "Animals" }).waitFor();
  await act("Move to Animals");
  // By its heading: the word stands in the menu of each conversation too.
  await page.locator("section").filter({ has: page.getByRole("heading", { name: "Animals" }) }).getByRole("link", { name: "Seal facts" }).waitFor();
  const [file] = await Promise.all([page.waitForEvent("download"), act("Export as JSON")]);
  assert.equal(file.suggestedFilename(), "Seal facts.json");
  const path = await file.path();
  await act("Delete");
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await page.getByRole("link", { name: "Seal facts" }).waitFor({ state: "detached" });
  await page.locator("input[data-import]").setInputFiles(path);
  await page.getByText("1 conversation imported.").waitFor();
  await page.getByRole("link", { name: "Seal facts" }).waitFor();
  await close();
});
