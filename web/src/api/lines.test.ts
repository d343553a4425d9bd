import { expect, it } from "vitest";
import { errorOfBody } from "./http";
import { eventsOf, linesOf } from "./lines";

/** A response whose bytes come in pieces of this size. */
function response(text: string, size: number): Response {
  const bytes = new TextEncoder().encode(text);
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.slice(at, at + size));
  return new Response(
    new ReadableStream({
      start(controller) {
        for (const piece of pieces) controller.enqueue(piece);
        controller.close();
      },
    }),
  );
}

async function all<T>(from: AsyncGenerator<T>): Promise<T[]> {
  const out: T[] = [];
  for await (const one of from) out.push(one);
  return out;
}

it("reads lines however the bytes are cut", async () => {
  for (const size of [1, 2, 3, 7, 100]) {
    expect(await all(linesOf(response("äö\r\n€\n\nlast", size)))).toEqual(["äö", "€", "", "last"]);
  }
});

it("reads events up to the end and skips comments", async () => {
  const text = ': ping\n\ndata: {"a":1}\n\ndata: {"b":"ü"}\n\ndata: [DONE]\n\ndata: {"c":1}\n\n';
  for (const size of [1, 5, 1000]) expect(await all(eventsOf(response(text, size)))).toEqual([{ a: 1 }, { b: "ü" }]);
});

it("understands errors of all dialects", () => {
  expect(errorOfBody(400, { error: "no" }).message).toBe("no");
  expect(errorOfBody(400, { error: { message: "bad", code: 400 } }).message).toBe("bad");
  expect(errorOfBody(500, [1]).message).toBe("[1]");
});
