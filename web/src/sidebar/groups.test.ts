import { expect, it } from "vitest";
import type { ConversationLine } from "../api/types";
import { grouped } from "./groups";

const now = new Date(2026, 5, 15, 12).getTime();
const hour = 3_600_000;
const line = (id: string, hoursAgo: number, more: Partial<ConversationLine> = {}): ConversationLine => ({
  id, title: id, folder_id: null, is_pinned: false, model: null, created_ms: 0, updated_ms: now - hoursAgo * hour, ...more,
});

it("groups by pin, folder and age", () => {
  const lines = [line("a", 1), line("b", 13), line("c", 60), line("d", 1000), line("p", 5000, { is_pinned: true }), line("f", 2, { folder_id: "x" }), line("g", 2, { folder_id: "gone" })];
  const groups = grouped(lines, [{ id: "x", name: "X" }, { id: "y", name: "Y" }], now);
  expect(groups.map((group) => [group.name ?? group.folder?.name, group.lines.map((one) => one.id).join("")])).toEqual([
    ["pinned", "p"], ["X", "f"], ["Y", ""], ["today", "ag"], ["yesterday", "b"], ["week", "c"], ["older", "d"],
  ]);
});
