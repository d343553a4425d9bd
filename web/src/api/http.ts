/** Requests to the server that sent the page: the key, JSON, and errors that say what to do. */

/** What the server says when it refuses. */
export class ApiError extends Error {
  readonly status: number;
  readonly hint: string | undefined;

  constructor(status: number, message: string, hint?: string) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.hint = hint;
  }

  /** The server asks for a key, or for another one. */
  get needsKey(): boolean {
    return this.status === 401;
  }
}

const KEY_PLACE = "lair.key";
let key: string | undefined;
let onKeyNeeded: (() => void) | undefined;

/** The key that is sent, kept in this browser until it is forgotten. */
export function currentKey(): string {
  key ??= localStorage.getItem(KEY_PLACE) ?? "";
  return key;
}

export function setKey(next: string): void {
  key = next.trim();
  if (key) localStorage.setItem(KEY_PLACE, key);
  else localStorage.removeItem(KEY_PLACE);
}

/** Tells who asks the user for a key that one is needed. */
export function whenKeyNeeded(ask: () => void): void {
  onKeyNeeded = ask;
}

export interface Ask {
  method?: "GET" | "POST" | "DELETE";
  body?: unknown;
  signal?: AbortSignal;
  /** Goes on when the page is left. */
  keepalive?: boolean;
}

/** Sends a request; the answer's status is good. */
export async function ask(path: string, { method, body, signal, keepalive }: Ask = {}): Promise<Response> {
  const headers: Record<string, string> = {};
  if (currentKey()) headers["Authorization"] = `Bearer ${currentKey()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const init: RequestInit = { method: method ?? (body === undefined ? "GET" : "POST"), headers };
  if (body !== undefined) init.body = JSON.stringify(body);
  if (signal) init.signal = signal;
  if (keepalive) init.keepalive = true;
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "unreachable");
  }
  if (response.ok) return response;
  const refused = await errorOf(response);
  if (refused.needsKey) onKeyNeeded?.();
  throw refused;
}

/** The same for JSON. */
export async function askJson<T>(path: string, options?: Ask): Promise<T> {
  return (await (await ask(path, options)).json()) as T;
}

async function errorOf(response: Response): Promise<ApiError> {
  const text = await response.text();
  try {
    return errorOfBody(response.status, JSON.parse(text));
  } catch {
    return new ApiError(response.status, text.slice(0, 400) || response.statusText);
  }
}

/** Errors of all dialects: `{error: "text"}` and `{error: {message}}`. */
export function errorOfBody(status: number, body: unknown): ApiError {
  const error = isObject(body) ? body["error"] : undefined;
  if (typeof error === "string") return new ApiError(status, error);
  if (isObject(error) && typeof error["message"] === "string") {
    const hint = typeof error["hint"] === "string" ? error["hint"] : undefined;
    return new ApiError(status, error["message"], hint);
  }
  return new ApiError(status, JSON.stringify(body).slice(0, 400));
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
