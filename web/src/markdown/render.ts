/** Markdown to HTML, in blocks: while an answer grows only its last block is rendered again. */

import MarkdownIt from "markdown-it";
import { highlighted } from "./highlight";
import { mathRules } from "./math";
import { sanitized } from "./sanitize";

/** Longest text that is rendered; what is longer is shown as it is. */
const LENGTH_MAX = 400_000;
/** Blocks whose HTML is remembered. */
const REMEMBERED_MAX = 600;

const markdown = new MarkdownIt({ html: false, linkify: true, breaks: false, typographer: false });
markdown.use(mathRules);
markdown.validateLink = (link) => /^(?:https?:|mailto:|data:image\/(?:png|jpeg|gif|webp);base64,)/i.test(link.trim());

type Renderer = NonNullable<typeof markdown.renderer.rules.fence>;
const escape = markdown.utils.escapeHtml;

const code: Renderer = (tokens, index) => {
  const token = tokens[index]!;
  const language = (token.info.trim().split(/\s+/)[0] ?? "").toLowerCase();
  return `<pre data-language="${escape(language)}"><code class="hljs">${highlighted(token.content, language)}</code></pre>\n`;
};
markdown.renderer.rules.fence = code;
markdown.renderer.rules.code_block = code;
markdown.renderer.rules.image = (tokens, index) => {
  const token = tokens[index]!;
  const source = String(token.attrGet("src") ?? "");
  const text = token.content || source;
  if (/^data:/i.test(source)) return `<img src="${escape(source)}" alt="${escape(text)}">`;
  // Loading it would tell its server that this was read: it is a link, which the reader may follow.
  return `<a class="remote" href="${escape(source)}">${escape(text)}</a>`;
};
for (const cell of ["th_open", "td_open"] as const) {
  markdown.renderer.rules[cell] = (tokens, index) => {
    const align = /text-align:(\w+)/.exec(String(tokens[index]!.attrGet("style") ?? ""))?.[1];
    const tag = cell === "th_open" ? "th" : "td";
    // Styles in attributes are refused by the page's policy; a class of the page does the same.
    return align ? `<${tag} data-align="${align}">` : `<${tag}>`;
  };
}

const remembered = new Map<string, string>();

/** The blocks of a text as HTML that may be shown. */
export function renderedBlocks(text: string): string[] {
  if (text.length > LENGTH_MAX) return [`<pre><code>${escape(text)}</code></pre>`];
  const environment = {};
  const tokens = markdown.parse(text, environment);
  const blocks: string[] = [];
  let start = 0;
  let depth = 0;
  for (let index = 0; index < tokens.length; index++) {
    depth += tokens[index]!.nesting;
    if (depth > 0) continue;
    const block = markdown.renderer.render(tokens.slice(start, index + 1), markdown.options, environment);
    blocks.push(clean(block));
    start = index + 1;
  }
  return blocks;
}

function clean(html: string): string {
  const known = remembered.get(html);
  if (known !== undefined) return known;
  const safe = sanitized(html);
  if (remembered.size >= REMEMBERED_MAX) remembered.delete(remembered.keys().next().value!);
  remembered.set(html, safe);
  return safe;
}
