/** Answers of models, as they come. */

import { ApiError, ask, askJson, errorOfBody, isObject } from "./http";
import { eventsOf } from "./lines";
import type { ChatSettings, Timings, TokenChance, ToolCall } from "./types";

/** A message as a model is told it. */
export interface PromptMessage {
  role: string;
  content: string;
  tool_calls?: { id: string; type: "function"; function: { name: string; arguments: string } }[];
  tool_call_id?: string;
}

/** What comes of an answer, piece by piece. */
export interface AnswerPiece {
  content?: string;
  reasoning?: string;
  calls?: { index: number; id?: string; name?: string; arguments?: string }[];
  chances?: TokenChance[];
  finish?: string;
  timings?: Timings;
}

interface Delta {
  content?: string | null;
  reasoning_content?: string;
  tool_calls?: { index: number; id?: string; function?: { name?: string; arguments?: string } }[];
}

interface LogprobEntry {
  token: string;
  logprob: number;
  top_logprobs: { token: string; logprob: number }[];
}

interface Chunk {
  choices?: { delta: Delta; finish_reason: string | null; logprobs?: { content: LogprobEntry[] } | null; timings?: Timings }[];
  timings?: Timings;
}

const SAMPLING = [
  "temperature", "top_p", "top_k", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty", "seed", "max_tokens",
] as const;

/** The fields of a request that settings ask for. */
export function requestFields(settings: ChatSettings): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  for (const name of SAMPLING) if (settings[name] !== undefined) fields[name] = settings[name];
  if (settings.stop?.length) fields["stop"] = settings.stop;
  if (settings.reasoning_effort) fields["reasoning_effort"] = settings.reasoning_effort;
  if (settings.tools?.trim()) fields["tools"] = parseTools(settings.tools);
  return fields;
}

/** Tools in JSON: a list, each with a function. */
export function parseTools(text: string): unknown[] {
  let tools: unknown;
  try {
    tools = JSON.parse(text);
  } catch (error) {
    throw new ApiError(400, `tools: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (!Array.isArray(tools)) throw new ApiError(400, "tools: a list is expected");
  return tools;
}

/** Asks for an answer to a conversation. Ends when the answer does; aborting the signal stops it. */
export async function* answer(
  model: string,
  messages: PromptMessage[],
  settings: ChatSettings,
  signal: AbortSignal,
): AsyncGenerator<AnswerPiece> {
  const chances = settings.shows_chances ? { logprobs: true, top_logprobs: 5 } : {};
  const body = { model, messages, ...requestFields(settings), ...chances, stream: true };
  const response = await ask("/v1/chat/completions", { body, signal });
  for await (const event of eventsOf(response)) {
    if (isObject(event) && "error" in event) throw errorOfBody(response.status, event);
    const piece = pieceOf(event as Chunk);
    if (piece) yield piece;
  }
}

function pieceOf(chunk: Chunk): AnswerPiece | undefined {
  const choice = chunk.choices?.[0];
  if (!choice) return undefined;
  const piece: AnswerPiece = {};
  const { delta, logprobs } = choice;
  if (delta.content) piece.content = delta.content;
  if (delta.reasoning_content) piece.reasoning = delta.reasoning_content;
  if (delta.tool_calls) {
    piece.calls = delta.tool_calls.map((call) => ({
      index: call.index,
      ...(call.id ? { id: call.id } : {}),
      ...(call.function?.name ? { name: call.function.name } : {}),
      ...(call.function?.arguments ? { arguments: call.function.arguments } : {}),
    }));
  }
  if (logprobs) {
    piece.chances = logprobs.content.map(({ token, logprob, top_logprobs }) => ({
      token,
      logprob,
      top: top_logprobs.map((other) => ({ token: other.token, logprob: other.logprob })),
    }));
  }
  if (choice.finish_reason) piece.finish = choice.finish_reason;
  const timings = choice.timings ?? chunk.timings;
  if (timings) piece.timings = timings;
  return piece;
}

/** Goes on with an answer that ended too early: the prompt's own tokens, then what was said. */
export async function* goOn(
  model: string,
  messages: PromptMessage[],
  said: string,
  settings: ChatSettings,
  signal: AbortSignal,
): AsyncGenerator<AnswerPiece> {
  const { tokens } = await askJson<{ tokens: number[] }>("/tokenize", { body: { model, messages }, signal });
  const { max_tokens, reasoning_effort: _, tools: __, ...sampling } = requestFields(settings);
  const body = { model, prompt: [...tokens, said], ...sampling, n_predict: max_tokens ?? -1, stream: true };
  const response = await ask("/completion", { body, signal });
  for await (const event of eventsOf(response)) {
    if (!isObject(event)) continue;
    if ("error" in event) throw errorOfBody(response.status, event);
    const piece: AnswerPiece = {};
    if (typeof event["content"] === "string") piece.content = event["content"];
    if (event["stop"] === true) {
      piece.finish = event["stop_type"] === "limit" ? "length" : "stop";
      if (isObject(event["timings"])) piece.timings = event["timings"] as unknown as Timings;
    }
    yield piece;
    if (piece.finish) return;
  }
}

/** Puts the pieces of calls together. */
export function addCalls(calls: ToolCall[], pieces: NonNullable<AnswerPiece["calls"]>): ToolCall[] {
  const next = calls.map((call) => ({ ...call }));
  for (const piece of pieces) {
    const call = (next[piece.index] ??= { id: "", name: "", arguments: "" });
    if (piece.id) call.id = piece.id;
    if (piece.name) call.name += piece.name;
    if (piece.arguments) call.arguments += piece.arguments;
  }
  return next;
}

/** Tokens of a prompt, as the model's own tokenizer and template count them. */
export async function countTokens(model: string, messages: PromptMessage[], settings: ChatSettings, signal: AbortSignal): Promise<number> {
  const tools = settings.tools?.trim() ? { tools: parseTools(settings.tools) } : {};
  const body = { model, messages, ...tools };
  return (await askJson<{ input_tokens: number }>("/v1/chat/completions/input_tokens", { body, signal })).input_tokens;
}
