/** In which group of the list a conversation stands: pure. */

import type { ConversationLine, Folder } from "../api/types";

export type GroupName = "pinned" | "today" | "yesterday" | "week" | "older";

export interface Group {
  name: GroupName | null;
  folder: Folder | null;
  lines: ConversationLine[];
}

const DAY_MS = 86_400_000;

function age(line: ConversationLine, midnight: number): GroupName {
  if (line.updated_ms >= midnight) return "today";
  if (line.updated_ms >= midnight - DAY_MS) return "yesterday";
  return line.updated_ms >= midnight - 6 * DAY_MS ? "week" : "older";
}

/** Pinned ones, folders, then the others by their age; groups without any are left out, folders are not. */
export function grouped(lines: readonly ConversationLine[], folders: readonly Folder[], now: number): Group[] {
  const midnight = new Date(now).setHours(0, 0, 0, 0);
  const loose = lines.filter((line) => !line.is_pinned && !folders.some((folder) => folder.id === line.folder_id));
  const groups: Group[] = [{ name: "pinned", folder: null, lines: lines.filter((line) => line.is_pinned) }];
  for (const folder of folders) {
    groups.push({ name: null, folder, lines: lines.filter((line) => !line.is_pinned && line.folder_id === folder.id) });
  }
  for (const name of ["today", "yesterday", "week", "older"] as const) {
    groups.push({ name, folder: null, lines: loose.filter((line) => age(line, midnight) === name) });
  }
  return groups.filter((group) => group.folder || group.lines.length);
}
