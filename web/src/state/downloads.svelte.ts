/** The downloads of the server, as they go. */

import * as api from "../api/discover";
import { models } from "./models.svelte";
import { session } from "./session.svelte";

const AGAIN_MS = 3000;

class Downloads {
  list = $state<api.Download[]>([]);
  #watching: AbortController | undefined;

  /** Watches until the returned function is called. */
  watch(): () => void {
    const watching = (this.#watching = new AbortController());
    void this.#follow(watching.signal);
    return () => watching.abort();
  }

  async #follow(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        for await (const list of api.watchDownloads(signal)) {
          const done = (all: api.Download[]) => all.filter((one) => one.state === "done").length;
          const hasNew = done(list) > done(this.list);
          this.list = list;
          if (hasNew) void models.refresh();
        }
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Error && "status" in error && error.status !== 0) return;
      }
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }

  of(model: string): api.Download | undefined {
    return this.list.find((one) => one.model === model && one.state !== "done");
  }

  async start(model: string, insecure = false): Promise<void> {
    await this.#do(api.startDownload(model, insecure));
  }

  async pause(id: string): Promise<void> {
    await this.#do(api.pauseDownload(id));
  }

  async remove(id: string): Promise<void> {
    await this.#do(api.removeDownload(id));
  }

  async #do(work: Promise<void>): Promise<void> {
    try {
      await work;
      if (!this.#watching) this.watch();
    } catch (error) {
      session.fail(error);
    }
  }
}

export const downloads = new Downloads();
