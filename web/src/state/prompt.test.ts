import { expect, it } from "vitest";
import { addCalls } from "../api/chat";
import type { Message } from "../api/types";
import { modelfileOf } from "./modelfile";
import { filledIn, promptOf, titleOf, variablesOf, withAttachments } from "./prompt";

const message = (role: Message["role"], content: string, extra: Message["extra"] = {}): Message => ({ id: content, parent_id: null, role, content, extra, created_ms: 0 });

it("tells a model the system prompt, the messages, calls and their results, and no empty answer", () => {
  const call = { id: "c1", name: "add", arguments: "{}" };
  const path = [message("user", "q"), message("assistant", "", { tool_calls: [call] }), message("tool", "4", { tool_call_id: "c1" }), message("assistant", "", { error: "x" })];
  expect(promptOf(path, { system: "S" })).toEqual([
    { role: "system", content: "S" },
    { role: "user", content: "q" },
    { role: "assistant", content: "", tool_calls: [{ id: "c1", type: "function", function: { name: "add", arguments: "{}" } }] },
    { role: "tool", content: "4", tool_call_id: "c1" },
  ]);
});

it("puts files into fences that they cannot close", () => {
  const text = withAttachments("Read", [{ name: "a.md", text: "````\nx\n````" }]);
  expect(text).toBe("a.md:\n`````\n````\nx\n````\n`````\n\nRead");
});

it("fills in variables and leaves those without a value", () => {
  expect(variablesOf("{{a}} {{ b }} {{a}} {c}")).toEqual(["a", "b"]);
  expect(filledIn("{{a}} {{ b }}", { a: "$&" })).toBe("$& {{ b }}");
});

it("makes titles of first words", () => {
  expect(titleOf("Hello there\nmore")).toBe("Hello there");
  expect(titleOf(`${"word ".repeat(30)}`).length).toBeLessThanOrEqual(61);
});

it("puts calls together from their pieces", () => {
  let calls = addCalls([], [{ index: 0, id: "a", name: "f" }]);
  calls = addCalls(calls, [{ index: 0, arguments: '{"x"' }]);
  calls = addCalls(calls, [{ index: 0, arguments: ":1}" }, { index: 1, id: "b", name: "g" }]);
  expect(calls).toEqual([{ id: "a", name: "f", arguments: '{"x":1}' }, { id: "b", name: "g", arguments: "" }]);
});

it("writes settings as a Modelfile", () => {
  expect(modelfileOf("m", { system: 'Say """hi"""', temperature: 0.5, max_tokens: 9, stop: ["a\nb"] })).toBe(
    'FROM m\nPARAMETER temperature 0.5\nPARAMETER num_predict 9\nPARAMETER stop "a\\nb"\nSYSTEM """Say \'\'\'hi\'\'\'"""\n',
  );
});
