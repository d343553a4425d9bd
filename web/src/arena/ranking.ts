/**
 * Ranks of models by votes: the Bradley-Terry model, fitted by maximum likelihood.
 *
 * P(i beats j) = s_i / (s_i + s_j). A tie counts half a win for each. Every model also plays one tie against an average one: a
 * model that always won would have no finite strength otherwise. Strengths are shown as Elo does, 400 points for ten to one,
 * the average at 1000. Intervals are Wald's: the inverse of the observed information gives the variances of log strengths, taken
 * from their mean.
 * Source: Hunter, "MM algorithms for generalized Bradley-Terry models", Annals of Statistics 32 (2004).
 */

export interface Vote {
  a: string;
  b: string;
  /** Both may be good or bad: a tie either way. */
  winner: "a" | "b" | "tie" | "bad";
}

export interface Rank {
  model: string;
  rating: number;
  low: number;
  high: number;
  wins: number;
  losses: number;
  ties: number;
}

const POINTS = 400 / Math.LN10;
const Z_95 = 1.959964;
const ROUNDS_MAX = 1000;

export function ranking(votes: readonly Vote[]): Rank[] {
  const real = votes.filter((vote) => vote.a !== vote.b);
  const names = [...new Set(real.flatMap((vote) => [vote.a, vote.b]))].sort();
  const count = names.length;
  if (!count) return [];
  const at = new Map(names.map((name, index) => [name, index]));
  const games = names.map(() => new Array<number>(count).fill(0));
  const wins = new Array<number>(count).fill(0.5);
  const tally = names.map(() => ({ wins: 0, losses: 0, ties: 0 }));
  for (const vote of real) {
    const [i, j] = [at.get(vote.a)!, at.get(vote.b)!];
    games[i]![j]! += 1;
    games[j]![i]! += 1;
    const ofA = vote.winner === "a" ? 1 : vote.winner === "b" ? 0 : 0.5;
    wins[i]! += ofA;
    wins[j]! += 1 - ofA;
    if (ofA === 0.5) [i, j].forEach((index) => (tally[index]!.ties += 1));
    else {
      tally[ofA ? i : j]!.wins += 1;
      tally[ofA ? j : i]!.losses += 1;
    }
  }
  const strengths = fitted(games, wins);
  const variances = centredVariances(inverse(information(games, strengths)));
  const logs = strengths.map(Math.log);
  const mean = logs.reduce((sum, log) => sum + log, 0) / count;
  return names
    .map((model, index) => {
      const rating = 1000 + POINTS * (logs[index]! - mean);
      const half = POINTS * Z_95 * Math.sqrt(Math.max(0, variances[index]!));
      return { model, rating, low: rating - half, high: rating + half, ...tally[index]! };
    })
    .sort((left, right) => right.rating - left.rating || left.model.localeCompare(right.model));
}

/** The strengths under which the votes are likeliest; the average opponent has 1. */
function fitted(games: number[][], wins: number[]): number[] {
  let strengths = wins.map(() => 1);
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const next = strengths.map((own, i) => {
      const met = games[i]!.reduce((sum, count, j) => sum + count / (own + strengths[j]!), 1 / (own + 1));
      return wins[i]! / met;
    });
    const change = Math.max(...next.map((own, i) => Math.abs(Math.log(own / strengths[i]!))));
    strengths = next;
    if (change < 1e-10) break;
  }
  return strengths;
}

/** Minus the second derivatives of the likelihood by log strengths. */
function information(games: number[][], strengths: number[]): number[][] {
  const weight = (s: number, t: number) => (s * t) / (s + t) ** 2;
  return games.map((row, i) => {
    const own = strengths[i]!;
    const off = row.map((count, j) => -count * weight(own, strengths[j]!));
    off[i] = weight(own, 1) - off.reduce((sum, value) => sum + value, 0);
    return off;
  });
}

/** Variances of log strengths from their mean: how far all of them are from the average opponent is not what ranks say. */
function centredVariances(covariance: number[][]): number[] {
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const means = covariance.map(mean);
  const overall = mean(means);
  return covariance.map((row, i) => row[i]! - 2 * means[i]! + overall);
}

/** The inverse, by Gauss and Jordan; the matrix is positive definite. */
function inverse(matrix: number[][]): number[][] {
  const size = matrix.length;
  const rows = matrix.map((row, i) => [...row, ...row.map((_, j) => (i === j ? 1 : 0))]);
  for (let pivot = 0; pivot < size; pivot++) {
    const own = rows[pivot]!;
    const scale = own[pivot]!;
    for (let j = 0; j < 2 * size; j++) own[j]! /= scale;
    for (let i = 0; i < size; i++) {
      const factor = rows[i]![pivot]!;
      if (i === pivot || factor === 0) continue;
      for (let j = 0; j < 2 * size; j++) rows[i]![j]! -= factor * own[j]!;
    }
  }
  return rows.map((row) => row.slice(size));
}
