/** The list of conversations and folders beside the chat. */

import * as api from "../api/conversations";
import type { ConversationLine, Folder } from "../api/types";
import { session } from "./session.svelte";

class Library {
  conversations = $state<ConversationLine[]>([]);
  folders = $state<Folder[]>([]);
  search = $state("");
  isLoaded = $state(false);
  #asking: AbortController | undefined;

  async refresh(): Promise<void> {
    this.#asking?.abort();
    const asking = (this.#asking = new AbortController());
    try {
      const { conversations, folders } = await api.listConversations(this.search, asking.signal);
      this.conversations = conversations;
      this.folders = folders;
      this.isLoaded = true;
    } catch (error) {
      if (!asking.signal.aborted) session.fail(error);
    }
  }

  async #do(work: Promise<void>): Promise<boolean> {
    try {
      await work;
      await this.refresh();
      return true;
    } catch (error) {
      session.fail(error);
      return false;
    }
  }

  change(id: string, change: api.ConversationChange): Promise<boolean> {
    return this.#do(api.changeConversation(id, change));
  }

  remove(id: string): Promise<boolean> {
    return this.#do(api.removeConversation(id));
  }

  addFolder(name: string): Promise<boolean> {
    return this.#do(api.putFolder({ id: api.newId(), name }));
  }

  renameFolder(id: string, name: string): Promise<boolean> {
    return this.#do(api.putFolder({ id, name }));
  }

  removeFolder(id: string): Promise<boolean> {
    return this.#do(api.removeFolder(id));
  }
}

export const library = new Library();
