/** Answers that come piece by piece: lines of text out of the bytes of a response. */

/** The lines of a response as they come, without their ends; the last one also without one. */
export async function* linesOf(response: Response): AsyncGenerator<string> {
  const reader = response.body?.getReader();
  if (!reader) return;
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      rest += decoder.decode(value, { stream: !done });
      const lines = rest.split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) yield line.endsWith("\r") ? line.slice(0, -1) : line;
      if (done) break;
    }
    if (rest) yield rest;
  } finally {
    // Who stops reading does not want the rest to be computed.
    reader.cancel().catch(() => undefined);
  }
}

/** The data of server-sent events, up to `[DONE]`. */
export async function* eventsOf(response: Response): AsyncGenerator<unknown> {
  for await (const line of linesOf(response)) {
    if (!line.startsWith("data:")) continue;
    const data = line.slice(5).trim();
    if (data === "[DONE]") return;
    yield JSON.parse(data);
  }
}

/** The objects of newline-delimited JSON. */
export async function* objectsOf(response: Response): AsyncGenerator<unknown> {
  for await (const line of linesOf(response)) {
    if (line.trim()) yield JSON.parse(line);
  }
}
