/** KaTeX, in a file of its own: most conversations have no formulas. */

import katex from "katex";
import "katex/dist/katex.min.css";

/** Draws a formula. It builds elements and sets their styles one by one, which the page's policy allows. */
export function drawFormula(place: HTMLElement, formula: string, displayMode: boolean): void {
  try {
    katex.render(formula, place, { displayMode, throwOnError: true, trust: false, strict: "ignore", maxSize: 20, maxExpand: 500 });
  } catch (error) {
    // What is no formula stays as it was written.
    place.textContent = formula;
    place.title = error instanceof Error ? error.message : String(error);
  }
}
