/** One model's answer to a prompt, outside of conversations: for comparing and for the arena. */

import { answer } from "../api/chat";
import { loadModel } from "../api/models";
import type { ChatSettings, Timings } from "../api/types";
import { errorText } from "./session.svelte";

export class Lane {
  model = $state<string | null>(null);
  text = $state("");
  reasoning = $state("");
  error = $state("");
  firstTokenMs = $state<number>();
  timings = $state<Timings>();
  state = $state<"idle" | "waiting" | "running" | "done">("idle");

  clear(): void {
    this.text = "";
    this.reasoning = "";
    this.error = "";
    this.firstTokenMs = undefined;
    this.timings = undefined;
    this.state = "idle";
  }

  async run(prompt: string, settings: ChatSettings, signal: AbortSignal): Promise<void> {
    if (!this.model) return;
    this.clear();
    this.state = "waiting";
    const messages = [...(settings.system ? [{ role: "system", content: settings.system }] : []), { role: "user", content: prompt }];
    try {
      // Loading is not what is compared.
      await loadModel(this.model, undefined, signal);
      const started = performance.now();
      for await (const piece of answer(this.model, messages, settings, signal)) {
        if (this.state === "waiting" && (piece.content || piece.reasoning)) {
          this.state = "running";
          this.firstTokenMs = performance.now() - started;
        }
        if (piece.content) this.text += piece.content;
        if (piece.reasoning) this.reasoning += piece.reasoning;
        if (piece.timings) this.timings = piece.timings;
      }
    } catch (error) {
      if (!signal.aborted) this.error = errorText(error);
    } finally {
      this.state = "done";
    }
  }
}

/** Runs lanes one after the other: together each would have only its share of the machine. */
export async function runInTurn(lanes: readonly Lane[], prompt: string, settings: ChatSettings, signal: AbortSignal): Promise<void> {
  lanes.forEach((lane) => lane.clear());
  for (const lane of lanes) {
    if (signal.aborted) return;
    await lane.run(prompt, settings, signal);
  }
}
