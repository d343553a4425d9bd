import { expect, it } from "vitest";
import type { Message } from "../api/types";
import { childrenOf, latestLeaf, pathTo, subtree } from "./tree";

const message = (id: string, parent_id: string | null): Message => ({ id, parent_id, role: "user", content: id, extra: {}, created_ms: 0 });
const all = [message("q", null), message("a", "q"), message("b", "q"), message("c", "a"), message("d", "a")];
const byId = new Map(all.map((one) => [one.id, one]));
const children = childrenOf(all);

it("goes from the first message to a leaf", () => {
  expect(pathTo(byId, "c").map((one) => one.id)).toEqual(["q", "a", "c"]);
  expect(pathTo(byId, null)).toEqual([]);
  expect(pathTo(byId, "gone")).toEqual([]);
});

it("ends where messages answer each other in a circle", () => {
  const circle = new Map([["x", message("x", "y")], ["y", message("y", "x")]]);
  expect(pathTo(circle, "x").length).toBe(2);
});

it("goes on with the latest version", () => {
  expect(latestLeaf(children, "q")).toBe("b");
  expect(latestLeaf(children, "a")).toBe("d");
});

it("takes all that follows a message", () => {
  expect([...subtree(children, "a")].sort()).toEqual(["a", "c", "d"]);
});
