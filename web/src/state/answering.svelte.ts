/** One answer while it comes: read piece by piece, shown a frame at a time, kept now and then and at its end. */

import { addCalls, answer, goOn, type AnswerPiece } from "../api/chat";
import { ApiError } from "../api/http";
import { changeMessage } from "../api/conversations";
import type { ChatSettings, Message, MessageExtra } from "../api/types";
import { promptOf } from "./prompt";
import { errorText, session } from "./session.svelte";

/** How often an answer that is coming is kept: a page that is closed loses at most so much. */
const KEEP_EVERY_MS = 1500;

export class Answering {
  readonly messageId: string;
  /** Nothing has come yet. */
  isWaiting = $state(true);
  #message: Message;
  readonly #conversation: string;
  readonly #model: string;
  readonly #settings: ChatSettings;
  readonly #show: (message: Message) => void;
  readonly #stopping = new AbortController();
  #frame = 0;
  #keptAt = performance.now();
  /** The latest part that is being kept; another is not sent before it has arrived. */
  #keeping: Promise<void> | undefined;

  constructor(conversation: string, message: Message, model: string, settings: ChatSettings, show: (message: Message) => void) {
    this.messageId = message.id;
    this.#conversation = conversation;
    this.#message = message;
    this.#model = model;
    this.#settings = settings;
    this.#show = show;
  }

  stop(): void {
    this.#stopping.abort();
  }

  async run(before: Message[], goesOn: boolean): Promise<void> {
    const started = performance.now();
    const { error: _, finish: __, ...kept } = this.#message.extra;
    let extra: MessageExtra = { ...kept, model: this.#model };
    this.#message = { ...this.#message, extra };
    const leave = () => this.#keep(true);
    window.addEventListener("pagehide", leave);
    const { signal } = this.#stopping;
    const prompt = promptOf(before, this.#settings);
    try {
      const pieces = goesOn
        ? goOn(this.#model, prompt, this.#message.content, this.#settings, signal)
        : answer(this.#model, prompt, this.#settings, signal);
      for await (const piece of pieces) {
        if (this.isWaiting && (piece.content || piece.reasoning || piece.calls)) {
          this.isWaiting = false;
          if (!goesOn) this.#message.extra.first_token_ms = performance.now() - started;
        }
        this.#take(piece);
      }
      if (!this.#message.extra.finish) this.#note({ finish: "broken" });
    } catch (error) {
      if (signal.aborted) this.#note({ finish: "stopped" });
      else {
        this.#note({ finish: "error", error: errorText(error) });
        session.fail(error);
      }
    } finally {
      window.removeEventListener("pagehide", leave);
      cancelAnimationFrame(this.#frame);
      this.isWaiting = false;
      this.#show({ ...this.#message });
      await this.#keepNow().catch((error: unknown) => {
        // Its conversation may have been removed while it came.
        if (!(error instanceof ApiError && error.status === 404)) session.fail(error);
      });
    }
  }

  #note(extra: MessageExtra): void {
    this.#message = { ...this.#message, extra: { ...this.#message.extra, ...extra } };
  }

  #take(piece: AnswerPiece): void {
    const message = this.#message;
    const extra = message.extra;
    if (piece.content) message.content += piece.content;
    if (piece.reasoning) extra.reasoning = (extra.reasoning ?? "") + piece.reasoning;
    if (piece.calls) extra.tool_calls = addCalls(extra.tool_calls ?? [], piece.calls);
    if (piece.chances) extra.chances = [...(extra.chances ?? []), ...piece.chances];
    if (piece.timings) extra.timings = piece.timings;
    if (piece.finish) extra.finish = piece.finish;
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#show({ ...this.#message, extra: { ...this.#message.extra } });
    });
    this.#keep(false);
  }

  /** Keeps what has come so far, if that is due; `isLast` when the page is left. */
  #keep(isLast: boolean): void {
    const now = performance.now();
    if (!isLast && (this.#keeping || now - this.#keptAt < KEEP_EVERY_MS)) return;
    this.#keptAt = now;
    const { content, extra } = this.#message;
    const whole: MessageExtra = isLast ? { ...extra, finish: "stopped" } : extra;
    this.#keeping = changeMessage(this.#conversation, this.messageId, { content, extra: whole }, isLast)
      .catch(() => undefined)
      .finally(() => (this.#keeping = undefined));
  }

  async #keepNow(): Promise<void> {
    await this.#keeping;
    const { content, extra } = this.#message;
    return changeMessage(this.#conversation, this.messageId, { content, extra });
  }
}
