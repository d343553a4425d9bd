/** Which items of a long list are drawn: those in sight and some around them. Pure arithmetic over their heights. */

export interface Window {
  /** The first item that is drawn. */
  start: number;
  /** The one behind the last. */
  end: number;
  /** Pixels of what is not drawn before and after. */
  before: number;
  after: number;
}

/** Heights of items by their names; what was not measured is taken to be as high as what was, on average. */
export class Heights {
  #measured = new Map<string, number>();
  #sum = 0;
  readonly #guess: number;

  constructor(guess: number) {
    this.#guess = guess;
  }

  get average(): number {
    return this.#measured.size ? this.#sum / this.#measured.size : this.#guess;
  }

  /** Notes a height; says by how much it differs from what was assumed. */
  note(id: string, height: number): number {
    const before = this.of(id);
    this.#sum += height - (this.#measured.get(id) ?? 0);
    this.#measured.set(id, height);
    return height - before;
  }

  of(id: string): number {
    return this.#measured.get(id) ?? this.average;
  }
}

/** The items to draw for a view of `height` pixels at `top`. `margin` pixels around it are drawn as well. */
export function windowOf(ids: readonly string[], heights: Heights, top: number, height: number, margin: number): Window {
  const average = heights.average;
  let start = -1;
  let end = ids.length;
  let before = 0;
  let drawn = 0;
  let at = 0;
  for (let index = 0; index < ids.length; index++) {
    const own = heights.of(ids[index]!);
    const bottom = at + own;
    if (start < 0 && bottom >= top - margin) {
      start = index;
      before = at;
    }
    if (start >= 0) drawn += own;
    at = bottom;
    if (start >= 0 && at > top + height + margin) {
      end = index + 1;
      break;
    }
  }
  if (start < 0) {
    start = Math.max(0, ids.length - 1);
    before = Math.max(0, at - average);
    drawn = ids.length ? average : 0;
  }
  let after = 0;
  for (let index = end; index < ids.length; index++) after += heights.of(ids[index]!);
  return { start, end, before, after };
}
