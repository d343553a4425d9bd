/** The models there are, those in memory, and what the loaded ones do by themselves. */

import * as api from "../api/models";
import type { Model, RunningModel } from "../api/types";
import { session } from "./session.svelte";

const LAST_PLACE = "lair.model";

class Models {
  all = $state<Model[]>([]);
  running = $state<RunningModel[]>([]);
  defaults = $state<Record<string, api.ModelDefaults>>({});
  loading = $state<string[]>([]);
  isListed = $state(false);

  /** Models that answer. */
  chats = $derived(this.all.filter((model) => model.capabilities.includes("completion")));

  async refresh(): Promise<void> {
    try {
      [this.all, this.running] = await Promise.all([api.listModels(), api.runningModels()]);
      this.isListed = true;
    } catch (error) {
      session.fail(error);
    }
  }

  async refreshRunning(): Promise<void> {
    this.running = await api.runningModels().catch(() => this.running);
  }

  isLoaded(name: string): boolean {
    return this.running.some((model) => model.name === name);
  }

  /** The model a new chat begins with: the last one used, one in memory, the newest. */
  usual(): string | null {
    const last = localStorage.getItem(LAST_PLACE);
    const here = (name: string | null | undefined) => (name && this.chats.some((model) => model.name === name) ? name : null);
    return here(last) ?? here(this.running[0]?.name) ?? this.chats[0]?.name ?? null;
  }

  remember(name: string): void {
    localStorage.setItem(LAST_PLACE, name);
  }

  /** Loads a model while the user still writes, and learns its settings. Failing is told when the answer fails. */
  async warm(name: string): Promise<void> {
    if (this.defaults[name] && this.isLoaded(name)) return;
    if (this.loading.includes(name)) return;
    this.loading.push(name);
    try {
      this.defaults[name] = await api.modelDefaults(name);
      await this.refreshRunning();
    } catch {
      // Sending says why.
    } finally {
      this.loading = this.loading.filter((other) => other !== name);
    }
  }
}

export const models = new Models();
