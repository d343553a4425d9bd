/** The conversation that is open: its messages, its branches, and the answer that is coming. */

import * as api from "../api/conversations";
import type { Attachment, ChatSettings, Message, MessageExtra, Role } from "../api/types";
import { words } from "../i18n/index.svelte";
import { loadRenderer } from "../markdown/renderer.svelte";
import { Answering } from "./answering.svelte";
import { library } from "./library.svelte";
import { models } from "./models.svelte";
import { titleOf } from "./prompt";
import { router } from "./router.svelte";
import { session } from "./session.svelte";
import { childrenOf, latestLeaf, pathTo, subtree, type Children } from "./tree";

/**
 * A conversation as it was when something was said in it: what is sent belongs there, whichever one is looked at when it has
 * arrived.
 */
interface Branch {
  /** Null until its first message is sent. */
  id: string | null;
  /** Which of the conversations that have no name yet it is. */
  visit: number;
  model: string | null;
  settings: ChatSettings;
  path: Message[];
  /** What was written since, as it is now. */
  news: Map<string, Message>;
}

export class OpenConversation {
  /** Null until the first message is sent. */
  id = $state<string | null>(null);
  title = $state("");
  model = $state<string | null>(null);
  settings = $state<ChatSettings>({});
  leafId = $state<string | null>(null);
  isLoading = $state(false);
  /** Answers that are coming, by conversation: they go on while another one is looked at. */
  #coming = $state.raw<ReadonlyMap<string, Answering>>(new Map());
  /** The answer that is coming here. */
  answering = $derived<Answering | undefined>(this.id === null ? undefined : this.#coming.get(this.id));
  /** Where a message is on its way to the server. */
  #sending = $state.raw<readonly Branch[]>([]);
  #visit = $state(0);
  /** What was said and is not answered to the end. */
  readonly #underway = new Set<Branch>();
  /** Not deeply reactive: a message is replaced when it changes. */
  #byId = $state.raw<ReadonlyMap<string, Message>>(new Map());

  path = $derived<Message[]>(pathTo(this.#byId, this.leafId));
  #children = $derived<Children>(childrenOf(this.#byId.values()));

  get isAnswering(): boolean {
    return this.answering !== undefined;
  }

  /** Nothing more can be said here before what is on its way has arrived and was answered. */
  get isBusy(): boolean {
    return this.isAnswering || this.#sending.some((branch) => this.#isHere(branch));
  }

  message(id: string): Message | undefined {
    return this.#byId.get(id);
  }

  /** The versions beside a message: those with the same parent. */
  siblings(message: Message): Message[] {
    return this.#children.get(message.parent_id) ?? [message];
  }

  async open(id: string): Promise<void> {
    this.isLoading = true;
    const underway = () => [...this.#underway].filter((branch) => branch.id === id);
    const before = underway();
    try {
      // What renders the messages comes at the same time, so that they are drawn once.
      const [found] = await Promise.all([api.getConversation(id), loadRenderer()]);
      // Another one was asked for in the meantime.
      if (router.place.view === "chat" && router.place.id !== id) return;
      this.#visit += 1;
      this.id = found.id;
      this.title = found.title;
      this.model = found.model ?? models.usual();
      this.settings = found.settings;
      this.leafId = found.leaf_id;
      this.#byId = new Map(found.messages.map((message) => [message.id, message]));
      // What was written there while this was fetched is newer.
      for (const message of new Set([...before, ...underway()].flatMap(({ news }) => [...news.values()]))) {
        if (!this.#byId.has(message.id)) this.leafId = message.id;
        this.put(message);
      }
    } catch (error) {
      this.clear();
      session.fail(error);
    } finally {
      this.isLoading = false;
    }
  }

  /** Begins anew; nothing is kept before the first message. */
  clear(settings: ChatSettings = {}): void {
    this.#visit += 1;
    this.id = null;
    this.title = "";
    this.model = models.usual();
    this.settings = settings;
    this.leafId = null;
    this.#byId = new Map();
  }

  /** Stops the answer that is coming, here or in another conversation. */
  stop(id = this.id): void {
    if (id !== null) this.#coming.get(id)?.stop();
  }

  isAnsweringIn(id: string): boolean {
    return this.#coming.has(id);
  }

  /** Sends a message of the user and asks for the answer; says whether the message has arrived. */
  async send(text: string, attachments: Attachment[] = []): Promise<boolean> {
    if (!this.model) {
      session.tell(words.t.errors.noModel, true);
      return false;
    }
    const extra: MessageExtra = attachments.length ? { attachments } : {};
    return this.#say(this.#branch(this.leafId), "user", text, extra);
  }

  /** Asks for another answer to the same message. */
  async regenerate(message: Message): Promise<void> {
    this.leafId = message.parent_id;
    await this.#answer(this.#branch(message.parent_id));
  }

  /** Goes on with an answer that ended too early. */
  async goOn(message: Message): Promise<void> {
    const branch = this.#branch(message.id);
    this.#underway.add(branch);
    await this.#run(branch, true);
    this.#underway.delete(branch);
  }

  /** Another version of a user's message, and its answer; says whether the message has arrived. */
  async sendEdited(message: Message, text: string): Promise<boolean> {
    return this.#say(this.#branch(message.parent_id), message.role, text, message.extra);
  }

  /** Changes a message where it stands; says whether that was kept. */
  async edit(message: Message, text: string): Promise<boolean> {
    const { chances: _, ...extra } = message.extra;
    this.put({ ...message, content: text, extra });
    const isKept = await this.#kept(api.changeMessage(this.id!, message.id, { content: text, extra }));
    if (!isKept && this.#byId.has(message.id)) this.put(message);
    return isKept;
  }

  async remove(message: Message): Promise<void> {
    if (!(await this.#kept(api.removeMessage(this.id!, message.id)))) return;
    const gone = subtree(this.#children, message.id);
    this.#byId = new Map([...this.#byId].filter(([id]) => !gone.has(id)));
    if (this.leafId && gone.has(this.leafId)) {
      const siblings = this.#children.get(message.parent_id)?.filter((other) => other.id !== message.id) ?? [];
      const next = siblings.at(-1);
      this.#show(next ? latestLeaf(this.#children, next.id) : message.parent_id);
    }
  }

  /** Shows another version of a message, with what followed it last. */
  switchTo(message: Message): void {
    this.#show(latestLeaf(this.#children, message.id));
  }

  /** Gives the result of a tool's call; when all calls have one, the model goes on. */
  async giveResult(message: Message, callId: string, text: string): Promise<void> {
    const answered = new Set(this.path.map((other) => other.extra.tool_call_id)).add(callId);
    const hasAll = (message.extra.tool_calls ?? []).every((call) => answered.has(call.id));
    await this.#say(this.#branch(this.leafId), "tool", text, { tool_call_id: callId }, hasAll);
  }

  /** Copies the branch up to a message into a conversation of its own; gives its name. */
  async branchFrom(message: Message): Promise<string | undefined> {
    const id = api.newId();
    const model = this.model ? { model: this.model } : {};
    const title = words.t.chat.branchTitle(this.title);
    try {
      await api.addConversation(id, { title, settings: $state.snapshot(this.settings), ...model });
      let parent: string | null = null;
      for (const own of pathTo(this.#byId, message.id)) {
        const copy: Message = { ...own, id: api.newId(), parent_id: parent };
        await api.addMessage(id, copy);
        parent = copy.id;
      }
    } catch (error) {
      session.fail(error);
      return undefined;
    }
    await library.refresh();
    return id;
  }

  async chooseModel(model: string): Promise<void> {
    this.model = model;
    models.remember(model);
    if (this.id) await this.#kept(api.changeConversation(this.id, { model }));
  }

  async changeSettings(settings: ChatSettings): Promise<void> {
    this.settings = settings;
    if (this.id) await this.#kept(api.changeConversation(this.id, { settings: $state.snapshot(settings) }));
  }

  /** Takes a message as it is now. */
  put(message: Message): void {
    this.#byId = new Map(this.#byId).set(message.id, message);
  }

  #show(leafId: string | null): void {
    this.leafId = leafId;
    if (this.id) void this.#kept(api.changeConversation(this.id, { leaf_id: leafId }));
  }

  async #kept(work: Promise<void>): Promise<boolean> {
    try {
      await work;
      return true;
    } catch (error) {
      session.fail(error);
      return false;
    }
  }

  /** What is open, up to a message. */
  #branch(leafId: string | null): Branch {
    const { id, model } = this;
    const settings = $state.snapshot(this.settings);
    return { id, visit: this.#visit, model, settings, path: pathTo(this.#byId, leafId), news: new Map() };
  }

  #isHere(branch: Branch): boolean {
    return branch.id === null ? branch.visit === this.#visit : branch.id === this.id;
  }

  /** Adds a message and asks for the answer to it, unless something else is to come before; says whether the message has arrived. */
  async #say(branch: Branch, role: Role, content: string, extra: MessageExtra, wantsAnswer = true): Promise<boolean> {
    return this.#while(branch, async () => {
      const hasArrived = await this.#add(branch, role, content, extra);
      if (hasArrived && wantsAnswer) void this.#answer(branch);
      return hasArrived;
    });
  }

  /** Takes a conversation as busy while something is sent to it. */
  async #while<T>(branch: Branch, work: () => Promise<T>): Promise<T> {
    this.#sending = [...this.#sending, branch];
    try {
      return await work();
    } finally {
      // Once: an answer to a message is asked for while that is still taken note of.
      this.#sending = this.#sending.toSpliced(this.#sending.indexOf(branch), 1);
    }
  }

  /** Adds a message to the end of a branch, which is a new conversation if it has no name; false, with a word of it, where that fails. */
  async #add(branch: Branch, role: Role, content: string, extra: MessageExtra): Promise<boolean> {
    const parentId = branch.path.at(-1)?.id ?? null;
    const message: Message = { id: api.newId(), parent_id: parentId, role, content, extra, created_ms: Date.now() };
    try {
      if (branch.id === null) {
        const id = api.newId();
        const title = titleOf(content) || words.t.sidebar.untitled;
        const model = branch.model ? { model: branch.model } : {};
        await api.addConversation(id, { title, settings: branch.settings, ...model });
        if (this.#isHere(branch)) [this.title, this.id] = [title, id];
        branch.id = id;
      }
      await api.addMessage(branch.id, message);
    } catch (error) {
      session.fail(error);
      return false;
    }
    branch.path = [...branch.path, message];
    branch.news.set(message.id, message);
    if (this.#isHere(branch)) {
      this.put(message);
      this.leafId = message.id;
    }
    void library.refresh();
    return true;
  }

  async #answer(branch: Branch): Promise<void> {
    const { model } = branch;
    if (!model) return session.tell(words.t.errors.noModel, true);
    models.remember(model);
    this.#underway.add(branch);
    if (await this.#while(branch, () => this.#add(branch, "assistant", "", { model }))) await this.#run(branch, false);
    this.#underway.delete(branch);
  }

  /** Has the last message of a branch written by its model. */
  async #run(branch: Branch, goesOn: boolean): Promise<void> {
    const { id, model, settings, path } = branch;
    const message = path.at(-1);
    if (!model || !id || !message) return;
    const answering = new Answering(id, message, model, settings, (next) => {
      branch.news.set(next.id, next);
      if (this.id === id && this.#byId.has(next.id)) this.put(next);
    });
    this.#coming = new Map(this.#coming).set(id, answering);
    session.announcement = words.t.chat.answerStarted;
    await answering.run(path.slice(0, -1), goesOn);
    const others = new Map(this.#coming);
    if (others.get(id) === answering) others.delete(id);
    this.#coming = others;
    session.announcement = words.t.chat.answerDone;
    void models.refreshRunning();
    void library.refresh();
  }
}

export const open = new OpenConversation();
