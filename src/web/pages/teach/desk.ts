// The stage on the teacher's desk: who is there, whose hand is up, how the class sees it, what is said in the chat.
// Lives as long as the class does; everything it shows comes from the box, and everything it does is asked of it.
import { keptName } from "../lib/ask";
import { Chat } from "../lib/chat";
import { Declined, Follower, type Control } from "../lib/control";
import { at, make, say } from "../lib/page";
import { LAYOUTS, type Me, type Stage } from "../lib/stage";
import { Tiles, type Tools } from "../lib/tiles";
import { showAudience } from "./audience";
import { Hands } from "./hands";
import { toolsFor } from "./tools";

export class Desk {
  readonly #control: Control;
  readonly #live: () => boolean;
  readonly #tiles: Tiles;
  readonly #hands: Hands;
  readonly #chat: Chat;
  #me: Me | null = null;
  /** Of this teacher's own tile: they may be pinned too. */
  #own: Tools | null = null;
  #stage: Stage | null = null;
  /** The teacher's own microphone, where the box has not been told yet. */
  #quiet: boolean | null = null;
  #following: { end: AbortController; follower: Follower } | null = null;
  #audience: AbortController | null = null;

  constructor(control: Control, live: () => boolean) {
    this.#control = control;
    // Whatever was done, by whichever part of the desk: the next look at the stage shows what came of it.
    control.acted = () => this.#following?.follower.nudge();
    this.#live = live;
    this.#tiles = new Tiles(at("stage"), [at("own"), at("own-screen")], {
      room: control.room,
      token: control.token,
      tools: (person, media) => toolsFor(control, (error) => this.#failed(error), person, media),
    });
    this.#hands = new Hands(control, (error) => this.#failed(error));
    this.#chat = new Chat(at("chat-body"), {
      control: control,
      // The token names its holder; a token without a name is asked for none.
      name: async () => keptName(),
      teacher: true,
      unread: (count) => {
        at("chat-count").hidden = count === 0;
        at("chat-count").textContent = count > 99 ? "99+" : String(count);
      },
    });
    this.#choices();
    at("lock").addEventListener("change", () => void this.#do(() => control.set({ locked: at<HTMLInputElement>("lock").checked })));
    at("unpin").addEventListener("click", () => void this.#do(() => control.set({ pinned: null })));
    at("look").addEventListener("click", () => this.#look(at("audience").hidden));
    at("chat-toggle").addEventListener("click", () => {
      const open = at("chat-body").hidden;
      at("chat-body").hidden = !open;
      at("chat-toggle").setAttribute("aria-expanded", String(open));
      at("chat-toggle").textContent = say(open ? "chat.fold" : "chat.unfold");
      this.#chat.show(open);
    });
  }

  /** The class is on, or over. */
  running(on: boolean): void {
    if (on === (this.#following !== null)) return;
    for (const part of ["air", "hands-panel", "chat"]) at(part).hidden = !on;
    at<HTMLDetailsElement>("devices").open = !on;
    if (!on) {
      this.#following?.end.abort();
      this.#following = null;
      this.#look(false);
      this.#hands.clear();
      this.#stage = null;
      this.#tiles.update({ version: 0, live: false, locked: false, layout: "auto", pinned: null, speaker: null, people: [], invited: [], hands: 0, chat: { last: 0, slow: 0, open: true } }, this.#me?.id ?? null);
      this.#chat.show(false);
      return;
    }
    const end = new AbortController();
    const follower = new Follower(this.#control, () => "on-stage", () => true, (stage) => this.#heard(stage));
    this.#following = { end, follower };
    this.#chat.show(!at("chat-body").hidden);
    void this.#begin(end.signal, follower);
  }

  /** The teacher turned their own microphone off, or on: everybody is to see it. */
  quiet(muted: boolean): void {
    this.#quiet = muted;
    if (this.#stage) this.#hush(this.#stage);
  }

  /** Nobody is muted who is not on stage: one who mutes before the class tells it when they are. */
  #hush(stage: Stage): void {
    const own = stage.people.find((person) => person.id === this.#me?.id);
    if (!own || this.#quiet === null) return;
    const muted = this.#quiet;
    this.#quiet = null;
    if (own.muted !== muted) void this.#control.mute(own.id, muted).catch(() => undefined); // silent here either way
  }

  place(): void {
    this.#tiles.place();
  }

  /** Ends the class for everybody. */
  async end(): Promise<void> {
    await this.#do(() => this.#control.end());
  }

  /** Who this is comes first: a teacher who saw their own tile come by way of the box would hear themselves. */
  async #begin(signal: AbortSignal, follower: Follower): Promise<void> {
    try {
      this.#me = await this.#control.me();
    } catch {
      this.#me = null; // a box without this interface; then there is nobody on stage to confuse
    }
    if (!signal.aborted) await follower.run(signal);
  }

  #heard(stage: Stage): void {
    this.#stage = stage;
    this.#tiles.update(stage, this.#me?.id ?? null);
    const own = stage.people.find((person) => person.id === this.#me?.id);
    if (own && !this.#own) {
      this.#own = toolsFor(this.#control, (error) => this.#failed(error), { ...own, name: say("stage.yourself"), role: "teacher" }, "camera");
      at("own").append(this.#own.element);
    }
    if (this.#own) this.#own.element.hidden = stage.people.length < 2 || !own;
    if (own) this.#own?.update({ ...own, name: say("stage.yourself") }, stage);
    this.#hush(stage);
    void this.#hands.update(stage);
    this.#chat.update(stage);
    at<HTMLInputElement>("lock").checked = stage.locked;
    for (const input of at("layouts").querySelectorAll<HTMLInputElement>("input")) input.checked = input.value === stage.layout;
    const pinned = stage.people.find((person) => person.id === stage.pinned);
    at("pinned").hidden = !pinned;
    if (pinned) at("pinned-words").textContent = say("desk.pinned", { name: pinned.id === this.#me?.id ? say("stage.you") : pinned.name || say("stage.somebody") });
  }

  #choices(): void {
    for (const layout of LAYOUTS) {
      const input = make("input");
      input.type = "radio";
      input.name = "layout";
      input.value = layout;
      input.addEventListener("change", () => void this.#do(() => this.#control.set({ layout })));
      const sketch = make("span", { class: "sketch" }, ...Array.from({ length: 4 }, () => make("i")));
      sketch.dataset["layout"] = layout;
      sketch.setAttribute("aria-hidden", "true");
      at("layouts").append(make("label", {}, input, make("span", { class: "choice" }, sketch, make("span", { text: say(`layout.${layout}`) }))));
    }
  }

  #look(open: boolean): void {
    at("audience").hidden = !open;
    at("look").setAttribute("aria-expanded", String(open));
    at("look").textContent = say(open ? "desk.audience.hide" : "desk.audience.show");
    this.#audience?.abort();
    this.#audience = null;
    if (!open) return;
    this.#audience = new AbortController();
    void showAudience(this.#control.room, this.#live, this.#audience.signal);
  }

  /** Does something; what the box declines is said, and the page shows again what is. */
  async #do(what: () => Promise<unknown>): Promise<void> {
    try {
      await what();
      at("declined").textContent = "";
    } catch (error) {
      this.#failed(error);
      if (this.#stage) this.#heard(this.#stage);
    }
  }

  #failed(error: unknown): void {
    const detail = error instanceof Declined ? error.detail : null;
    at("declined").textContent = detail ? `${say("stage.failed")} (${detail})` : say("stage.failed");
  }
}
