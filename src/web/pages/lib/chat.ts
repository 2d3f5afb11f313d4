// The class's chat as a panel: on the watch page beside the picture, on the teacher's desk with slow mode and delete.
// Costs nothing while it is closed: the stage's small answer tells how many there are, and only an open panel reads them.
import type { Control } from "./control";
import { Declined } from "./control";
import { icon } from "./icons";
import { merge, type Line } from "./log";
import { lang, make, say } from "./page";
import type { Stage } from "./stage";

/** As the box has it. */
const LONGEST = 500;
const SLOW = [0, 5, 15, 30, 60];

export interface ChatOptions {
  control: Control;
  /** The writer's name; null where they would rather not say. */
  name: () => Promise<string | null>;
  teacher: boolean;
  /** How many are unread, while the panel is closed. */
  unread: (count: number) => void;
}

export class Chat {
  readonly #options: ChatOptions;
  readonly #list = make("ol", { class: "lines" });
  readonly #empty = make("p", { class: "quiet small none", text: say("chat.none") });
  readonly #input = make("textarea");
  readonly #send = make("button", { class: "primary send" }, icon("send"));
  readonly #words = make("p", { class: "small quiet words" });
  readonly #slow = make("select");
  readonly #closed = make("input");
  readonly #say = make("form", { class: "say" });
  #log: Line[] = [];
  #open = false;
  /** The newest that this reader has seen, or that was there before they came. */
  #read: number | null = null;
  #last = 0;
  /** What was read up to here; null before anything was. */
  #got: number | null = null;
  #reading = false;
  #waitUntil = 0;
  #stage: Stage | null = null;
  #ticking: ReturnType<typeof setInterval> | undefined;

  constructor(panel: HTMLElement, options: ChatOptions) {
    this.#options = options;
    this.#list.setAttribute("role", "log");
    this.#list.setAttribute("aria-label", say("chat.title"));
    this.#list.tabIndex = 0;
    this.#input.rows = 1;
    this.#input.maxLength = LONGEST;
    this.#input.placeholder = say("chat.placeholder");
    this.#input.setAttribute("aria-label", say("chat.placeholder"));
    this.#send.type = "submit";
    this.#send.setAttribute("aria-label", say("chat.send"));
    this.#send.title = say("chat.send");
    this.#words.setAttribute("role", "status");
    this.#say.append(this.#input, this.#send);
    panel.append(...(options.teacher ? [this.#rules()] : []), make("div", { class: "scroll" }, this.#empty, this.#list), this.#words, this.#say);
    this.#say.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#speak();
    });
    this.#input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        void this.#speak();
      }
    });
    this.#input.addEventListener("input", () => this.#grow());
  }

  get open(): boolean {
    return this.#open;
  }

  show(open: boolean): void {
    this.#open = open;
    if (open) void this.#fetch();
    this.#count();
  }

  /** Another class has another chat. */
  clear(): void {
    this.#log = [];
    this.#last = 0;
    this.#got = this.#read = null;
    this.#stage = null;
    this.#draw();
    this.#count();
  }

  update(stage: Stage): void {
    // A box that started anew counts anew. An answer of a second ago may know less than what was just written here.
    if (stage.chat.last < this.#last - 50 || (stage.chat.last === 0 && this.#last > 3)) this.clear();
    this.#stage = stage;
    this.#last = Math.max(this.#last, stage.chat.last);
    this.#read ??= this.#last;
    if (this.#open && (this.#got === null || this.#got < this.#last)) void this.#fetch();
    if (document.activeElement !== this.#slow) this.#slow.value = String(SLOW.includes(stage.chat.slow) ? stage.chat.slow : "");
    this.#closed.checked = !stage.chat.open;
    this.#rest();
    this.#count();
  }

  #count(): void {
    if (this.#open) this.#read = this.#last;
    this.#options.unread(Math.max(0, this.#last - (this.#read ?? this.#last)));
  }

  /** Reads what is new: messages, and that some are there no more. */
  async #fetch(): Promise<void> {
    if (this.#reading || !this.#stage) return;
    this.#reading = true;
    try {
      for (let pages = 0; pages < 5; pages++) {
        const { last, more, lines } = await this.#options.control.chat(this.#got, AbortSignal.timeout(6000));
        const following = this.#scroller.scrollHeight - this.#scroller.scrollTop - this.#scroller.clientHeight < 60;
        this.#log = merge(this.#log, lines);
        this.#draw(following);
        this.#got = last;
        this.#last = Math.max(this.#last, last);
        if (!more) break;
      }
    } catch {
      // The next answer about the stage leads here again.
    } finally {
      this.#reading = false;
    }
    this.#count();
  }

  get #scroller(): HTMLElement {
    return this.#list.parentElement ?? this.#list;
  }

  #draw(following = true): void {
    const drawn = new Map([...this.#list.children].map((item) => [(item as HTMLElement).dataset["seq"] ?? "", item as HTMLElement]));
    let before: Element | null = this.#list.firstElementChild;
    for (const line of this.#log) {
      const key = String(line.seq);
      const old = drawn.get(key);
      drawn.delete(key);
      const item = old && old.dataset["deleted"] === String(line.deleted) ? old : this.#item(line);
      if (old && item !== old) {
        if (before === old) before = item;
        old.replaceWith(item);
      } else if (item !== before) this.#list.insertBefore(item, before);
      before = item.nextElementSibling;
    }
    for (const item of drawn.values()) item.remove();
    this.#empty.hidden = this.#log.length > 0;
    if (following) this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  #item(line: Line): HTMLElement {
    const item = make("li", { class: "line" });
    item.dataset["seq"] = String(line.seq);
    item.dataset["deleted"] = String(line.deleted);
    item.dataset["teacher"] = String(line.teacher);
    if (line.deleted) {
      item.append(make("span", { class: "quiet small", text: say("chat.deleted") }));
      return item;
    }
    const time = line.at === null ? "" : new Date(line.at).toLocaleTimeString(lang, { hour: "2-digit", minute: "2-digit" });
    const name = line.name || say("stage.somebody");
    const head = make("span", { class: "head" }, make("b", { text: name }));
    if (line.teacher) head.append(make("span", { class: "badge", text: say("stage.teacher") }));
    head.append(make("span", { class: "quiet time", text: time }));
    if (this.#options.teacher) {
      const remove = make("button", { class: "bare" }, icon("trash"));
      remove.type = "button";
      remove.setAttribute("aria-label", say("chat.delete.of", { name }));
      remove.title = say("chat.delete");
      remove.addEventListener("click", () => void this.#unsay(line.seq, remove));
      head.append(remove);
    }
    item.append(head, make("span", { class: "text", text: line.text }));
    return item;
  }

  async #unsay(seq: number, button: HTMLButtonElement): Promise<void> {
    button.disabled = true;
    try {
      await this.#options.control.unsay(seq);
      this.#log = this.#log.map((line) => (line.seq === seq ? { ...line, text: "", deleted: true } : line));
      this.#draw(false);
      this.#list.focus();
    } catch {
      button.disabled = false;
      this.#words.textContent = say("stage.failed");
    }
  }

  async #speak(): Promise<void> {
    const text = this.#input.value.trim();
    if (!text || this.#send.disabled) return;
    const name = await this.#options.name();
    if (name === null) return;
    this.#send.disabled = true;
    this.#words.textContent = "";
    try {
      const seq = await this.#options.control.say(text, name);
      this.#input.value = "";
      this.#grow();
      if (seq !== null) this.#last = Math.max(this.#last, seq);
      // One's own words come after everything: they are read from there, however far up one had scrolled.
      this.#scroller.scrollTop = this.#scroller.scrollHeight;
      this.#hold(this.#options.teacher ? 0 : (this.#stage?.chat.slow ?? 0));
      await this.#fetch();
    } catch (error) {
      if (error instanceof Declined && error.status === 429) this.#hold(error.wait ?? 5);
      else {
        const { status, detail } = error instanceof Declined ? error : { status: 0, detail: null };
        this.#words.textContent = status === 0 || !detail ? say("chat.failed") : `${say("chat.failed")} (${detail})`;
      }
    } finally {
      this.#rest();
      this.#input.focus();
    }
  }

  /** Slow mode: not again for so many seconds. What was typed stays. */
  #hold(seconds: number): void {
    if (seconds <= 0) return;
    this.#waitUntil = performance.now() + seconds * 1000;
    clearInterval(this.#ticking);
    this.#ticking = setInterval(() => this.#rest(), 500);
    this.#rest();
  }

  /** What can be written now, and why not. */
  #rest(): void {
    const open = this.#options.teacher || (this.#stage?.chat.open ?? true);
    const left = Math.ceil((this.#waitUntil - performance.now()) / 1000);
    this.#input.disabled = !open;
    this.#send.disabled = !open || left > 0;
    this.#say.dataset["closed"] = String(!open);
    if (left <= 0) clearInterval(this.#ticking);
    const words = !open ? say("chat.closed") : left > 0 ? say("chat.wait", { seconds: left }) : null;
    if (words !== null) this.#words.textContent = words;
    else if (this.#words.dataset["kind"] === "rest") this.#words.textContent = "";
    this.#words.dataset["kind"] = words === null ? "" : "rest";
    // A countdown read out twice a second is noise.
    this.#words.setAttribute("aria-live", left > 0 ? "off" : "polite");
  }

  #grow(): void {
    this.#input.style.height = "auto";
    this.#input.style.height = `${Math.min(this.#input.scrollHeight + 2, 120)}px`;
  }

  /** The teacher's: how fast anybody may write, and whether at all. */
  #rules(): HTMLElement {
    const options = SLOW.map((seconds) => {
      const option = make("option", { text: seconds === 0 ? say("chat.slow.off") : say("chat.slow.every", { seconds }) });
      option.value = String(seconds);
      return option;
    });
    this.#slow.append(...options);
    this.#slow.id = "chat-slow";
    this.#slow.addEventListener("change", () => void this.#rule({ slow_s: Number(this.#slow.value) }));
    this.#closed.type = "checkbox";
    this.#closed.id = "chat-closed";
    this.#closed.addEventListener("change", () => void this.#rule({ open: !this.#closed.checked }));
    return make(
      "div",
      { class: "rules small" },
      make("label", { class: "rule" }, make("span", { text: say("chat.slow") }), this.#slow),
      make("label", { class: "rule check" }, this.#closed, make("span", { text: say("chat.close") })),
    );
  }

  async #rule(change: { slow_s?: number; open?: boolean }): Promise<void> {
    try {
      await this.#options.control.setChat(change);
    } catch {
      this.#words.textContent = say("stage.failed");
    }
  }
}
