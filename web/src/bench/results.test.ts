import { expect, it } from "vitest";
import { chartsOf, merged } from "./results";

const bench = (name: string, median: number) => ({
  model: { name, file_type: "Q4_K_M" },
  results: [
    { test: "tg128", unit: "tokens/s", median, min: median - 1, max: median + 1, limit: 80, percent_of_limit: 70.4 },
    { test: "peak memory", unit: "bytes", median: 7.02e8, min: 7e8, max: 7.1e8, limit: null },
    { test: "broken", unit: "ms", median: null },
  ],
});

it("reads results of bench and puts several files side by side", () => {
  const charts = merged([...chartsOf(bench("a", 56))!, ...chartsOf(bench("b", 30))!, ...chartsOf(bench("a", 57))!]);
  expect(charts.map((chart) => [chart.what, chart.unit, chart.rows.length])).toEqual([["tg128", "tokens/s", 2], ["peak memory", "MB", 2]]);
  expect(charts[0]!.rows[1]).toEqual({ label: "a Q4_K_M", value: 57, low: 56, high: 58, limit: 80, note: "70 %" });
  expect(charts[1]!.rows[0]!.value).toBeCloseTo(702);
});

it("reads perplexity with divergence, and tasks with their intervals", () => {
  const quality = chartsOf({ model: "m", perplexity: 22.5, standard_error: 0.1, divergence: 0.01, divergence_standard_error: 0.001 })!;
  expect(quality.map((chart) => chart.kind)).toEqual(["perplexity", "divergence"]);
  expect(quality[0]!.rows[0]!.low).toBeCloseTo(22.304);
  const task = chartsOf({ model: "m", task: "hellaswag", accuracy: 0.4, accuracy_low: 0.35, accuracy_high: 0.45 })!;
  expect(task[0]!.rows[0]).toEqual({ label: "m", value: 40, low: 35, high: 45 });
});

it("reads nothing else", () => {
  for (const data of [null, 1, [], {}, { model: "m" }, { perplexity: 3 }, { results: [] }]) expect(chartsOf(data)).toBeUndefined();
});
