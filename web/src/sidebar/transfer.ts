/** Conversations to files and back; the server knows the formats. */

import { ask } from "../api/http";
import type { ConversationLine } from "../api/types";
import { words } from "../i18n/index.svelte";
import { library } from "../state/library.svelte";
import { session } from "../state/session.svelte";
import { fileName, saveBlob } from "../ui/save";

export async function exportOne(line: ConversationLine, format: "json" | "markdown"): Promise<void> {
  await save(`/lair/v1/conversations/${line.id}/export?format=${format}`, `${fileName(line.title)}.${format === "json" ? "json" : "md"}`);
}

export function exportAll(): Promise<void> {
  return save("/lair/v1/export", `lair-${new Date().toISOString().slice(0, 10)}.json`);
}

async function save(path: string, name: string): Promise<void> {
  try {
    saveBlob(name, await (await ask(path)).blob());
  } catch (error) {
    session.fail(error);
  }
}

export async function importFiles(files: FileList | null): Promise<void> {
  let count = 0;
  for (const file of files ?? []) {
    try {
      const body: unknown = JSON.parse(await file.text());
      const answer = (await (await ask("/lair/v1/import", { body: { name: file.name, data: body } })).json()) as { imported: number; notes: string[] };
      count += answer.imported;
      for (const note of answer.notes) session.tell(`${file.name}: ${note}`, true);
    } catch (error) {
      session.fail(error instanceof SyntaxError ? new Error(`${file.name}: ${error.message}`) : error);
    }
  }
  if (count) session.tell(words.t.sidebar.imported(count));
  await library.refresh();
}
