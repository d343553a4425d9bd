/** What rendered Markdown is given once it stands in the page: formulas, and a head with a button above code. */

import { fillMath } from "./math";

export interface CodeWords {
  copy: string;
  copied: string;
}

/** Dresses the children of a node; may be called again when they change. */
export function decorate(node: HTMLElement, words: CodeWords): void {
  void fillMath(node);
  for (const pre of node.querySelectorAll<HTMLPreElement>("pre:not([data-dressed])")) {
    pre.dataset["dressed"] = "1";
    pre.tabIndex = 0;
    const head = document.createElement("div");
    head.className = "code-head";
    const language = document.createElement("span");
    language.textContent = pre.dataset["language"] ?? "";
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = words.copy;
    button.addEventListener("click", () => {
      void copyText(pre.querySelector("code")?.textContent ?? "").then(() => {
        button.textContent = words.copied;
        setTimeout(() => (button.textContent = words.copy), 1600);
      });
    });
    head.append(language, button);
    pre.before(head);
  }
}

/** Puts text on the clipboard, also where the page came unencrypted from another machine. */
export async function copyText(text: string): Promise<void> {
  if (navigator.clipboard && window.isSecureContext) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "hidden-visually";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
