import { expect, it } from "vitest";
import { Heights, windowOf } from "./windowing";

const ids = Array.from({ length: 10_000 }, (_, index) => String(index));

it("draws what is in sight and a margin, and keeps the length of the list", () => {
  const heights = new Heights(100);
  for (const top of [0, 499_950, 123_456, 999_000, 5_000_000]) {
    const { start, end, before, after } = windowOf(ids, heights, top, 800, 400);
    expect(end - start).toBeLessThanOrEqual(18);
    expect(end).toBeGreaterThan(start);
    expect(before + after + (end - start) * 100).toBe(1_000_000);
  }
});

it("takes unmeasured items to be as high as measured ones are on average", () => {
  const heights = new Heights(100);
  expect(heights.note("0", 300)).toBe(200);
  expect(heights.of("1")).toBe(300);
  heights.note("1", 100);
  expect(heights.average).toBe(200);
  expect(heights.note("1", 160)).toBe(60);
});

it("draws nothing of nothing", () => {
  expect(windowOf([], new Heights(10), 0, 500, 100)).toEqual({ start: 0, end: 0, before: 0, after: 0 });
});
