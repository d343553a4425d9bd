/** What models, files and names can not do: run a script, load something remote, break the page. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { api, conversation, test, visit } from "./harness.mjs";

const source = readFileSync(new URL("../src/markdown/attacks.ts", import.meta.url), "utf8");
const ATTACKS = Function(`return ${source.slice(source.indexOf("= [") + 2, source.lastIndexOf("];") + 1)}`)();

/** Texts that are no attacks but break programs that are careless with them. */
const NAUGHTY = [
  "undefined", "null", "NaN", "\u0000", "‮reversed‭", "Z̮̞̠͙͔ͅḀ̗̞͈̻̗Ḷ͙͎̯̹̞͓G̻O̭̗̮", "👩‍👩‍👧‍👦🏳️‍🌈", "﷽﷽﷽", "表ポあA鷗ŒéＢ逍Üßªąñ丂㐀𠀀", "ثم نفس سقطت وبالتحديد", "\u200b\u200c\u200d\ufeff", "'; DROP TABLE message; --",
  "$(touch x) `id` ${HOME}", "../../../etc/passwd", "%s%s%n", "a".repeat(20_000), "```".repeat(500), "*".repeat(3000), "[".repeat(3000), "> ".repeat(300) + "x", "- ".repeat(200) + "x", "|".repeat(2000), "$".repeat(1001), "&".repeat(999), "<".repeat(2000), "(".repeat(1500) + ")".repeat(1500),
  "\\[" + "{".repeat(800), "$\\frac".repeat(50) + "$", "https://" + "a".repeat(3000), "_".repeat(2500) + "x", "`".repeat(999), "~~".repeat(700),
];

test("more than a hundred attacks and odd texts are inert, wherever they stand", async () => {
  const texts = [...ATTACKS, ...NAUGHTY];
  assert.ok(texts.length > 140, `${texts.length}`);
  const turns = texts.flatMap((text) => [["user", text], ["assistant", text, { reasoning: text, model: text.slice(0, 80), error: text.slice(0, 200), tool_calls: [{ id: "c", name: text.slice(0, 60), arguments: text.slice(0, 300) }] }]]);
  const title = "Attacks <img src=x onerror=alert(1)>";
  const id = await conversation(title, turns.slice(0, 100));
  const second = await conversation("More attacks", turns.slice(100));
  await api("/lair/v1/folders", { id: "evil", name: "<script>alert(1)</script>" });
  // What is no conversation for a model is refused when its tokens are counted, and the browser says so.
  const { page, close } = await visit(`/#/chat/${id}`, { allowed: [/input_tokens/] });
  // Messages of the first stand there until the second comes: only its own last one says that it is there.
  for (const [one, last] of [[id, 99], [second, turns.length - 101]]) {
    await page.goto(`${new URL(page.url()).origin}/#/chat/${one}`);
    await page.locator(`[data-message=m${last}]`).waitFor();
    const seen = new Set();
    for (let step = 0; step < 400; step++) {
      const done = await page.evaluate(async () => {
        const box = document.querySelector("[role=log]").parentElement;
        for (const details of document.querySelectorAll("article details:not([open])")) details.open = true;
        box.scrollTop -= box.clientHeight * 0.8;
        await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
        return box.scrollTop <= 0;
      });
      for (const name of await page.locator("[data-message]").evaluateAll((all) => all.map((node) => node.dataset.message))) seen.add(name);
      if (done) break;
    }
    assert.ok(seen.size >= 50, `${seen.size} messages were shown`);
    const bad = await page.evaluate(() => {
      const found = [];
      for (const node of document.querySelectorAll("#app *")) {
        for (const { name, value } of node.attributes) {
          if (/^on/i.test(name)) found.push(`${node.tagName} ${name}`);
          if (name === "href" && /^\s*(?:javascript|vbscript|data|file|blob):/i.test(value)) found.push(`${node.tagName} ${value}`);
          if (name === "src" && !/^(?:\/page\/|data:image\/(?:png|jpeg|gif|webp))/.test(value)) found.push(`${node.tagName} ${value}`);
        }
        if (["SCRIPT", "IFRAME", "OBJECT", "EMBED", "BASE", "META", "LINK", "FORM"].includes(node.tagName) && node.closest(".markdown")) found.push(node.tagName);
      }
      return found;
    });
    assert.deepEqual(bad, []);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, "nothing makes the page wider");
  }
  await close();
  await api("/lair/v1/folders/evil", undefined, { method: "DELETE" });
});

test("formulas and code are drawn without a style that the policy refuses", async () => {
  const text = "Euler: $e^{i\\pi}+1=0$\n\n$$\\sum_{k=1}^n k = \\frac{n(n+1)}{2}$$\n\n```python\nprint('hi')\n```\n\n| a | b |\n|--|--:|\n| 1 | 2 |";
  const id = await conversation("Formulas", [["user", "Show"], ["assistant", text]]);
  const { page, close } = await visit(`/#/chat/${id}`);
  await page.locator(".katex-display").waitFor();
  assert.equal(await page.locator(".katex").count(), 2);
  const height = await page.locator(".katex-display .katex-html").evaluate((node) => node.getBoundingClientRect().height);
  assert.ok(height > 25, `a fraction is high: ${height}`);
  await page.getByText("print").waitFor();
  assert.equal(await page.locator(".hljs-string").innerText(), "'hi'");
  await page.getByRole("button", { name: "Copy", exact: true }).waitFor();
  await close();
});
