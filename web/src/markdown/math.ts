/**
 * Formulas: `$...$`, `$$...$$`, `\(...\)` and `\[...\]` become places that KaTeX fills. It is loaded when the first is seen.
 *
 * A dollar opens a formula only before something that is no space, and closes it only behind something that is no space and
 * before something that is no digit: "between $5 and $10" has none (the rule of Pandoc's `tex_math_dollars`).
 */

import type { MarkdownIt } from "markdown-it";

/** Longest formula. */
const LENGTH_MAX = 5000;

function place(escape: (text: string) => string, formula: string, isDisplay: boolean): string {
  const tag = isDisplay ? "div" : "span";
  return `<${tag} class="math" data-math="${escape(formula)}"${isDisplay ? ' data-display="1"' : ""}>${escape(formula)}</${tag}>`;
}

/** Where a formula ends that begins at `start`, or -1. */
function closing(text: string, start: number, end: string): number {
  for (let at = text.indexOf(end, start); at >= 0 && at - start <= LENGTH_MAX; at = text.indexOf(end, at + 1)) {
    if (text[at - 1] === "\\" && end.startsWith("$")) continue;
    if (end === "$" && (/\s/.test(text[at - 1] ?? " ") || /\d/.test(text[at + 1] ?? ""))) continue;
    return at;
  }
  return -1;
}

export function mathRules(markdown: MarkdownIt): void {
  const escape = markdown.utils.escapeHtml;
  markdown.inline.ruler.before("escape", "math", (state, silent) => {
    const text = state.src;
    const at = state.pos;
    const open = ["$$", "$", "\\(", "\\["].find((mark) => text.startsWith(mark, at));
    if (!open) return false;
    if (open === "$" && /\s/.test(text[at + 1] ?? " ")) return false;
    const end = { $$: "$$", $: "$", "\\(": "\\)", "\\[": "\\]" }[open]!;
    const start = at + open.length;
    const stop = closing(text, start, end);
    if (stop <= start) return false;
    if (!silent) {
      const token = state.push("math", "", 0);
      token.content = text.slice(start, stop).trim();
      token.markup = open;
    }
    state.pos = stop + end.length;
    return true;
  });
  markdown.block.ruler.before(
    "fence",
    "math_block",
    (state, startLine, endLine, silent) => {
      const line = (index: number) => state.src.slice(state.bMarks[index]! + state.tShift[index]!, state.eMarks[index]!);
      const first = line(startLine).trim();
      const end = first.startsWith("$$") ? "$$" : first.startsWith("\\[") ? "\\]" : undefined;
      if (!end) return false;
      const content: string[] = [];
      for (let index = startLine; index < endLine; index++) {
        const raw = index === startLine ? line(index).trim().slice(2) : state.src.slice(state.bMarks[index]!, state.eMarks[index]!);
        const stop = raw.indexOf(end);
        if (stop < 0) {
          content.push(raw);
          continue;
        }
        // Text behind the formula: it stands within a line.
        if (raw.slice(stop + 2).trim()) return false;
        content.push(raw.slice(0, stop));
        const formula = content.join("\n").trim();
        if (!formula || formula.length > LENGTH_MAX) return false;
        if (!silent) {
          state.push("math", "", 0).content = formula;
          state.tokens.at(-1)!.markup = "$$";
          state.tokens.at(-1)!.block = true;
          state.line = index + 1;
        }
        return true;
      }
      return false;
    },
    { alt: ["paragraph"] },
  );
  markdown.renderer.rules["math"] = (tokens, index) => {
    const token = tokens[index]!;
    const isDisplay = token.block;
    return place(escape, token.content, isDisplay || token.markup === "$$" || token.markup === "\\[");
  };
}

let katex: Promise<typeof import("./katex")> | undefined;

/** Fills the places of formulas under a node. */
export async function fillMath(node: Element): Promise<void> {
  const places = [...node.querySelectorAll<HTMLElement>(".math[data-math]")];
  if (!places.length) return;
  katex ??= import("./katex");
  const { drawFormula } = await katex;
  for (const place of places) {
    const formula = place.dataset["math"];
    if (formula === undefined) continue;
    delete place.dataset["math"];
    drawFormula(place, formula, place.dataset["display"] === "1");
  }
}
