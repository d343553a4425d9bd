/** How much of the context a conversation takes, with what the user is writing: counted by the model's own tokenizer. */

import { countTokens } from "../api/chat";
import type { ChatSettings, Message } from "../api/types";
import { models } from "./models.svelte";
import { promptOf } from "./prompt";

const WAIT_MS = 350;
/** The server takes no longer conversations. */
const MESSAGES_MAX = 4096;

export class Gauge {
  used = $state<number>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #asking: AbortController | undefined;

  /** Counts anew, a moment after the last change. Only for a model in memory: counting must not load one by surprise. */
  update(model: string | null, path: readonly Message[], settings: ChatSettings, draft: Message | undefined): void {
    clearTimeout(this.#timer);
    this.#asking?.abort();
    if (!model || !models.isLoaded(model)) {
      this.used = undefined;
      return;
    }
    const messages = promptOf(draft ? [...path, draft] : path, settings);
    if (!messages.length || messages.length > MESSAGES_MAX) {
      this.used = undefined;
      return;
    }
    this.#timer = setTimeout(() => {
      const asking = (this.#asking = new AbortController());
      countTokens(model, messages, settings, asking.signal).then(
        (count) => (this.used = count),
        () => {
          if (!asking.signal.aborted) this.used = undefined;
        },
      );
    }, WAIT_MS);
  }
}
