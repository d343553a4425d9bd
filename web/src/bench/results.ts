/** Results of `lair bench`, `perplexity` and `eval` in JSON, as charts: pure. */

import { isObject } from "../api/http";

export interface Bar {
  label: string;
  value: number;
  low?: number;
  high?: number;
  /** What the machine allows. */
  limit?: number;
  note?: string;
}

export interface Chart {
  /** Charts with the same key become one. */
  key: string;
  kind: "bench" | "perplexity" | "divergence" | "accuracy";
  /** What was measured, `tg128` for example. */
  what: string;
  unit: string;
  digits: number;
  rows: Bar[];
}

const number = (value: unknown): number | undefined => (typeof value === "number" && Number.isFinite(value) ? value : undefined);
const text = (value: unknown): string => (typeof value === "string" ? value : "");
const given = <K extends string>(name: K, value: number | undefined) => (value === undefined ? {} : { [name]: value }) as Partial<Record<K, number>>;

/** The charts of a file; nothing if it is none of these. */
export function chartsOf(data: unknown): Chart[] | undefined {
  if (!isObject(data)) return undefined;
  if (Array.isArray(data["results"]) && isObject(data["model"])) return benchCharts(data["model"], data["results"]);
  const model = text(data["model"]);
  const perplexity = number(data["perplexity"]);
  if (model && perplexity !== undefined) return qualityCharts(model, perplexity, data);
  const accuracy = number(data["accuracy"]);
  if (model && accuracy !== undefined && text(data["task"])) {
    const bounds = { ...given("low", scaled(data["accuracy_low"])), ...given("high", scaled(data["accuracy_high"])) };
    return [{ key: `accuracy ${text(data["task"])}`, kind: "accuracy", what: text(data["task"]), unit: "%", digits: 1, rows: [{ label: model, value: accuracy * 100, ...bounds }] }];
  }
  return undefined;
}

const scaled = (value: unknown) => (number(value) === undefined ? undefined : number(value)! * 100);

function benchCharts(model: Record<string, unknown>, results: unknown[]): Chart[] {
  const label = [text(model["name"]), text(model["file_type"])].filter(Boolean).join(" ");
  return results.filter(isObject).flatMap((result) => {
    const value = number(result["median"]);
    const what = text(result["test"]);
    const unit = text(result["unit"]);
    if (value === undefined || !what) return [];
    const scale = unit === "bytes" ? 1e-6 : 1;
    const of = (name: string) => (number(result[name]) === undefined ? undefined : number(result[name])! * scale);
    const share = number(result["percent_of_limit"]);
    const row: Bar = { label, value: value * scale, ...given("low", of("min")), ...given("high", of("max")), ...given("limit", of("limit")) };
    if (share !== undefined) row.note = `${Math.round(share)} %`;
    return [{ key: `bench ${what} ${unit}`, kind: "bench" as const, what, unit: unit === "bytes" ? "MB" : unit, digits: 1, rows: [row] }];
  });
}

function qualityCharts(model: string, perplexity: number, data: Record<string, unknown>): Chart[] {
  const around = (value: number, error: number | undefined) => (error === undefined ? {} : { low: value - 1.96 * error, high: value + 1.96 * error });
  const charts: Chart[] = [
    { key: "perplexity", kind: "perplexity", what: "", unit: "", digits: 3, rows: [{ label: model, value: perplexity, ...around(perplexity, number(data["standard_error"])) }] },
  ];
  const divergence = number(data["divergence"]);
  if (divergence !== undefined) {
    charts.push({ key: "divergence", kind: "divergence", what: "", unit: "nats", digits: 5, rows: [{ label: model, value: divergence, ...around(divergence, number(data["divergence_standard_error"])) }] });
  }
  return charts;
}

/** Charts of several files as one of each key; a model measured twice has its latest figure. */
export function merged(charts: readonly Chart[]): Chart[] {
  const byKey = new Map<string, Chart>();
  for (const chart of charts) {
    const known = byKey.get(chart.key);
    if (!known) byKey.set(chart.key, { ...chart, rows: [...chart.rows] });
    else for (const row of chart.rows) known.rows = [...known.rows.filter((other) => other.label !== row.label), row];
  }
  return [...byKey.values()];
}
