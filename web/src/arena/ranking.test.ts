import { expect, it } from "vitest";
import { ranking, type Vote } from "./ranking";

const votes = (a: string, b: string, winner: Vote["winner"], count: number): Vote[] => Array.from({ length: count }, () => ({ a, b, winner }));

it("gives 400 points for ten to one, as votes grow many", () => {
  const [first, second] = ranking([...votes("x", "y", "a", 10_000), ...votes("x", "y", "b", 1000)]);
  expect(first!.model).toBe("x");
  expect(first!.rating - second!.rating).toBeCloseTo(400, -1);
  expect((first!.rating + second!.rating) / 2).toBeCloseTo(1000, 6);
});

it("has intervals that shrink with the root of the number of votes, and that are finite after one", () => {
  const width = (count: number) => {
    const [first] = ranking([...votes("x", "y", "a", count), ...votes("x", "y", "b", count)]);
    return first!.high - first!.low;
  };
  expect(width(400) / width(1600)).toBeCloseTo(2, 0);
  const [winner] = ranking(votes("x", "y", "a", 1));
  expect(Number.isFinite(winner!.high) && winner!.high > winner!.rating).toBe(true);
});

it("ranks over a chain, counts ties as halves and does not care which side a model was on", () => {
  const ranks = ranking([...votes("a", "b", "a", 8), ...votes("b", "a", "a", 2), ...votes("c", "b", "b", 8), ...votes("b", "c", "b", 2), ...votes("a", "c", "tie", 4)]);
  expect(ranks.map((rank) => rank.model)).toEqual(["a", "b", "c"]);
  expect(ranks[0]).toMatchObject({ wins: 8, losses: 2, ties: 4 });
  const tied = ranking([...votes("x", "y", "tie", 5), ...votes("x", "y", "bad", 5)]);
  expect(tied[0]!.rating).toBeCloseTo(tied[1]!.rating, 6);
});

it("ranks nobody without votes, and no model against itself", () => {
  expect(ranking([])).toEqual([]);
  expect(ranking(votes("x", "x", "a", 3))).toEqual([]);
});
