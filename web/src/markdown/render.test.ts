import { describe, expect, it } from "vitest";
import { ATTACKS } from "./attacks";
import { renderedBlocks } from "./render";
import { sanitized } from "./sanitize";

const ALLOWED_ATTRIBUTES = new Set(["href", "title", "alt", "src", "class", "start", "target", "rel", "data-math", "data-display", "data-language", "data-align"]);
const FORBIDDEN = "script,style,iframe,object,embed,link,meta,base,form,input,button,svg,math,video,audio,template,noscript";

/** What a browser would have of a text. */
function shown(text: string): HTMLElement {
  const place = document.createElement("div");
  place.innerHTML = renderedBlocks(text).join("");
  return place;
}

function expectInert(place: HTMLElement, text: string) {
  expect(place.querySelector(FORBIDDEN), text).toBeNull();
  for (const element of place.querySelectorAll("*")) {
    for (const { name, value } of element.attributes) {
      expect(ALLOWED_ATTRIBUTES.has(name), `${text}: ${name}="${value}"`).toBe(true);
      if (name === "href") expect(value, text).toMatch(/^(?:https?:|mailto:)/i);
      if (name === "src") expect(value, text).toMatch(/^data:image\/(?:png|jpeg|gif|webp);base64,/);
    }
  }
}

describe("text of models and files", () => {
  it("has more than a hundred attacks, and each is inert", () => {
    expect(ATTACKS.length).toBeGreaterThan(100);
    for (const attack of ATTACKS) {
      expectInert(shown(attack), attack);
      expectInert(shown(`Some words ${attack} and more\n\n- ${attack}\n`), attack);
    }
  });

  it("is inert even if the renderer let HTML through", () => {
    for (const attack of ATTACKS) {
      const place = document.createElement("div");
      place.innerHTML = sanitized(attack);
      expectInert(place, attack);
    }
  });

  it("opens links elsewhere and tells their pages nothing", () => {
    const link = shown("[a](https://a.example)").querySelector("a")!;
    expect([link.target, link.rel]).toEqual(["_blank", "noopener noreferrer nofollow"]);
  });

  it("shows remote pictures as links and its own as pictures", () => {
    const remote = shown("![a cat](https://a.example/cat.png)");
    expect(remote.querySelector("img")).toBeNull();
    expect(remote.querySelector("a.remote")?.textContent).toBe("a cat");
    expect(shown("![dot](data:image/png;base64,iVBORw0KGgo=)").querySelector("img")?.alt).toBe("dot");
  });
});

describe("Markdown", () => {
  it("comes in blocks, of which only the last changes while a text grows", () => {
    const before = renderedBlocks("# A\n\nFirst.\n\nSec");
    const after = renderedBlocks("# A\n\nFirst.\n\nSecond **part");
    expect(before.length).toBe(3);
    expect(after.slice(0, 2)).toEqual(before.slice(0, 2));
  });

  it("has tables with their alignment, and code with its language and colours", () => {
    const table = shown("| a | b |\n|---|--:|\n| 1 | 2 |");
    expect(table.querySelectorAll("td")[1]?.dataset["align"]).toBe("right");
    const code = shown("```rust\nfn main() {}\n```");
    expect(code.querySelector("pre")?.dataset["language"]).toBe("rust");
    expect(code.querySelector(".hljs-keyword")?.textContent).toBe("fn");
    expect(shown("```\n<b>\n```").querySelector("code")?.textContent).toBe("<b>\n");
  });

  it("finds formulas, and none between prices", () => {
    const formulas = (text: string) => [...shown(text).querySelectorAll<HTMLElement>(".math")].map((one) => [one.dataset["math"], one.dataset["display"]]);
    expect(formulas("a $x_1$ b")).toEqual([["x_1", undefined]]);
    expect(formulas("\\(a < b\\)")).toEqual([["a < b", undefined]]);
    expect(formulas("$$\nx = 1\n$$")).toEqual([["x = 1", "1"]]);
    expect(formulas("\\[ y \\]")).toEqual([["y", "1"]]);
    expect(formulas("inline $$z$$ here")).toEqual([["z", "1"]]);
    for (const text of ["between $5 and $10", "`$x$`", "a $ b $ c", "\\$x$", "$unclosed", "costs 5$"]) expect(formulas(text), text).toEqual([]);
  });

  it("shows what is too long as it is", () => {
    const blocks = renderedBlocks(`<b>${"x".repeat(400_001)}`);
    expect(blocks.length).toBe(1);
    expect(blocks[0]).toContain("&lt;b&gt;");
  });
});
