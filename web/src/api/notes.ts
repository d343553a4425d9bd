/** Presets and votes as the server keeps them. */

import { ask, askJson } from "./http";

export type NoteKind = "presets" | "votes" | "results";

export interface Note<T> {
  id: string;
  body: T;
  created_ms: number;
}

export async function listNotes<T>(kind: NoteKind): Promise<Note<T>[]> {
  return (await askJson<{ notes: Note<T>[] }>(`/lair/v1/notes/${kind}`)).notes;
}

export async function putNote(kind: NoteKind, id: string, body: unknown): Promise<void> {
  await ask(`/lair/v1/notes/${kind}`, { body: { id, body } });
}

export async function removeNote(kind: NoteKind, id: string): Promise<void> {
  await ask(`/lair/v1/notes/${kind}/${id}`, { method: "DELETE" });
}
