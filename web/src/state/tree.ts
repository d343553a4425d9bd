/** A conversation as a tree: pure functions over its messages. An edited message is another child of the same parent. */

import type { Message } from "../api/types";

/** The children of each message; those of `null` begin the conversation. */
export type Children = Map<string | null, Message[]>;

export function childrenOf(messages: Iterable<Message>): Children {
  const children: Children = new Map();
  for (const message of messages) {
    const siblings = children.get(message.parent_id);
    if (siblings) siblings.push(message);
    else children.set(message.parent_id, [message]);
  }
  return children;
}

/** The messages from the first one to a leaf. */
export function pathTo(byId: ReadonlyMap<string, Message>, leafId: string | null): Message[] {
  const path: Message[] = [];
  const seen = new Set<string>();
  for (let id = leafId; id !== null && !seen.has(id); ) {
    const message = byId.get(id);
    if (!message) break;
    seen.add(id);
    path.push(message);
    id = message.parent_id;
  }
  return path.reverse();
}

/** The leaf that is reached from a message by going on with the latest child each time. */
export function latestLeaf(children: Children, from: string): string {
  let id = from;
  for (let next = children.get(id)?.at(-1); next; next = children.get(id)?.at(-1)) id = next.id;
  return id;
}

/** A message with all that follows it. */
export function subtree(children: Children, root: string): Set<string> {
  const ids = new Set([root]);
  for (const id of ids) for (const child of children.get(id) ?? []) ids.add(child.id);
  return ids;
}
