/** What a model is told of a conversation: pure functions. */

import type { PromptMessage } from "../api/chat";
import type { Attachment, ChatSettings, Message } from "../api/types";

/** Text with its attachments before it, each in a fence that is longer than any within it. */
export function withAttachments(text: string, attachments: readonly Attachment[] = []): string {
  const files = attachments.map(({ name, text: content }) => {
    const longest = Math.max(2, ...[...content.matchAll(/`+/g)].map((run) => run[0].length));
    const fence = "`".repeat(longest + 1);
    return `${name}:\n${fence}\n${content}\n${fence}\n\n`;
  });
  return files.join("") + text;
}

/** The variables of a system prompt: names in double braces, each once. */
export function variablesOf(text: string): string[] {
  return [...new Set([...text.matchAll(/\{\{\s*([\w-]{1,40})\s*\}\}/g)].map((match) => match[1]!))];
}

/** A text with the values of its variables; those without a value stay. */
export function filledIn(text: string, values: Readonly<Record<string, string>>): string {
  return text.replace(/\{\{\s*([\w-]{1,40})\s*\}\}/g, (whole, name: string) => values[name] || whole);
}

/** The messages of a request. */
export function promptOf(path: readonly Message[], settings: ChatSettings): PromptMessage[] {
  const messages: PromptMessage[] = [];
  if (settings.system?.trim()) messages.push({ role: "system", content: settings.system });
  for (const { role, content, extra } of path) {
    const message: PromptMessage = { role, content: withAttachments(content, extra.attachments) };
    if (role === "assistant" && extra.tool_calls?.length) {
      message.tool_calls = extra.tool_calls.map((call) => ({
        id: call.id,
        type: "function",
        function: { name: call.name, arguments: call.arguments },
      }));
    }
    if (role === "tool" && extra.tool_call_id) message.tool_call_id = extra.tool_call_id;
    // An answer that failed before its first word is not part of what was said.
    if (role === "assistant" && !content && !message.tool_calls) continue;
    messages.push(message);
  }
  return messages;
}

/** A title out of the first words of a conversation. */
export function titleOf(text: string): string {
  const line = text.trim().split("\n")[0]!.replace(/\s+/g, " ");
  if (line.length <= 60) return line;
  const cut = line.slice(0, 60);
  return `${cut.slice(0, Math.max(cut.lastIndexOf(" "), 30))}…`;
}
