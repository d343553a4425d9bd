/** The last gate before text of a model or a file becomes part of the page: only what is listed here passes. */

import DOMPurify, { type Config } from "dompurify";

const RULES: Config = {
  ALLOWED_TAGS: [
    "p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol", "li",
    "table", "thead", "tbody", "tr", "th", "td", "a", "img", "span", "sup", "sub", "div",
  ],
  ALLOWED_ATTR: ["href", "title", "alt", "src", "class", "start", "data-math", "data-display", "data-language", "data-align"],
  // Values that are no addresses and need not look like one.
  ADD_URI_SAFE_ATTR: ["start", "data-math", "data-display", "data-language", "data-align"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|data:image\/(?:png|jpeg|gif|webp);base64,)/i,
  RETURN_DOM_FRAGMENT: false,
};
/** Pictures that are in the text itself; others would tell a stranger that the text was read. */
const OWN_PICTURE = /^data:image\/(?:png|jpeg|gif|webp);base64,[a-z0-9+/=]+$/i;
/** Classes that the page's own rendering sets. */
const OWN_CLASS = /^(?:hljs(?:-[a-z_]+)?|language-[\w+#.-]{1,40}|[a-z_]+_|math|remote|task)$/;

let purify: typeof DOMPurify | undefined;

/** HTML that may be shown. */
export function sanitized(html: string): string {
  purify ??= withHooks();
  return purify.sanitize(html, RULES) as string;
}

function withHooks(): typeof DOMPurify {
  const own = DOMPurify(window);
  own.addHook("afterSanitizeAttributes", (node) => {
    const classes = node.getAttribute("class");
    if (classes !== null) {
      const kept = classes.split(/\s+/).filter((name) => OWN_CLASS.test(name));
      if (kept.length) node.setAttribute("class", kept.join(" "));
      else node.removeAttribute("class");
    }
    if (node.tagName === "A") {
      if (/^(?:https?|mailto):/i.test(node.getAttribute("href") ?? "")) {
        node.setAttribute("target", "_blank");
        node.setAttribute("rel", "noopener noreferrer nofollow");
      } else {
        node.removeAttribute("href");
      }
    }
    if (node.tagName === "IMG" && !OWN_PICTURE.test(node.getAttribute("src") ?? "")) node.remove();
  });
  return own;
}
