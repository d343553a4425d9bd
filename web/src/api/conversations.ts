/** Conversations as the server keeps them. */

import { ask, askJson } from "./http";
import type { ChatSettings, Conversation, ConversationLine, Folder, Message, MessageExtra } from "./types";

const ALL = "/lair/v1/conversations";

/** A name that no other has: letters and digits, those of later ones sort later. */
export function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(10));
  return Date.now().toString(36) + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export interface Listed {
  conversations: ConversationLine[];
  folders: Folder[];
}

export function listConversations(search: string, signal?: AbortSignal): Promise<Listed> {
  const query = search.trim() ? `?search=${encodeURIComponent(search.trim())}` : "";
  return askJson<Listed>(ALL + query, signal ? { signal } : {});
}

export function getConversation(id: string): Promise<Conversation> {
  return askJson<Conversation>(`${ALL}/${id}`);
}

export interface ConversationChange {
  title?: string;
  folder_id?: string | null;
  is_pinned?: boolean;
  model?: string;
  settings?: ChatSettings;
  leaf_id?: string | null;
}

export async function addConversation(id: string, change: ConversationChange): Promise<void> {
  await ask(ALL, { body: { id, ...change } });
}

export async function changeConversation(id: string, change: ConversationChange): Promise<void> {
  await ask(`${ALL}/${id}`, { body: change });
}

export async function removeConversation(id: string): Promise<void> {
  await ask(`${ALL}/${id}`, { method: "DELETE" });
}

export async function addMessage(conversation: string, message: Message): Promise<void> {
  const { id, parent_id, role, content, extra } = message;
  await ask(`${ALL}/${conversation}/messages`, { body: { id, parent_id, role, content, extra } });
}

export async function changeMessage(
  conversation: string,
  id: string,
  change: { content?: string; extra?: MessageExtra },
  keepalive = false,
): Promise<void> {
  await ask(`${ALL}/${conversation}/messages/${id}`, { body: change, keepalive });
}

export async function removeMessage(conversation: string, id: string): Promise<void> {
  await ask(`${ALL}/${conversation}/messages/${id}`, { method: "DELETE" });
}

export async function putFolder(folder: Folder): Promise<void> {
  await ask("/lair/v1/folders", { body: folder });
}

export async function removeFolder(id: string): Promise<void> {
  await ask(`/lair/v1/folders/${id}`, { method: "DELETE" });
}
