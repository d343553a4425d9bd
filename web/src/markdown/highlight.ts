/** Colours for code: the common languages; what is another stays plain. */

import hljs from "highlight.js/lib/common";

/** Longest code that is coloured: longer takes the time of frames. */
const LENGTH_MAX = 60_000;

export function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

/** Code as HTML. */
export function highlighted(code: string, language: string): string {
  if (!language || code.length > LENGTH_MAX || !hljs.getLanguage(language)) return escaped(code);
  return hljs.highlight(code, { language, ignoreIllegals: true }).value;
}
