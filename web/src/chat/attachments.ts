/** Files of the user that become part of a message: text only. */

import type { Attachment } from "../api/types";

const BYTES_MAX = 2_000_000;

export interface ReadFiles {
  read: Attachment[];
  refused: { name: string; isLarge: boolean }[];
}

/** Reads files as text; what is too large or no text is named. */
export async function readTextFiles(files: Iterable<File>): Promise<ReadFiles> {
  const result: ReadFiles = { read: [], refused: [] };
  for (const file of files) {
    if (file.size > BYTES_MAX) {
      result.refused.push({ name: file.name, isLarge: true });
      continue;
    }
    try {
      const text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
      if (text.includes("\0")) throw new TypeError("no text");
      result.read.push({ name: file.name, text });
    } catch {
      result.refused.push({ name: file.name, isLarge: false });
    }
  }
  return result;
}
