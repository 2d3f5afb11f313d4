// What a page asks of the box about the stage, and does there: the room's API with this page's token.
import { jitter, pause, pauseUntilSeen } from "./backoff";
import { readPage, type Page } from "./log";
import { bearer } from "./signal";
import { period, readHands, readMe, readStage, type Hand, type Layout, type Me, type Nearness, type Stage } from "./stage";
import { keepToken, keptToken } from "./token";
import { detailOf, retryAfter } from "./whip";

/** The box declined (`status`), or did not answer (`status` 0). */
export class Declined extends Error {
  constructor(
    readonly status: number,
    readonly detail: string | null,
    /** Seconds after which it may go better. */
    readonly wait: number | null,
  ) {
    super(detail ?? `the box answered ${status}`);
  }
}

export class Control {
  readonly room: string;
  /** Called after something was done that the stage's next answer shows. */
  acted: () => void = () => undefined;
  #token: string | null;

  constructor(room: string) {
    this.room = room;
    this.#token = keptToken(room);
  }

  /** A function, for a guest has none until the first hand or message. */
  readonly token = (): string | null => this.#token;

  async stage(signal: AbortSignal): Promise<Stage> {
    // Without the token and without `no-store`: the one answer for everybody, which caches on the way may have.
    const answer = await fetch(this.#address("stage"), { signal });
    if (!answer.ok) throw new Declined(answer.status, null, null);
    const stage = readStage(await answer.json());
    if (!stage) throw new Declined(answer.status, "the box's answer describes no stage", null);
    return stage;
  }

  /** Who this page is; null where nobody is known. */
  async me(): Promise<Me | null> {
    return this.#token ? readMe(await this.#ask("GET", "me")) : null;
  }

  async hands(): Promise<Hand[]> {
    return readHands(await this.#ask("GET", "hands"));
  }

  /** Raises a hand and returns whose it is. */
  async raise(name: string): Promise<string | null> {
    const said = await this.#ask("POST", "hands", name ? { name } : {});
    this.#learn(said);
    return typeof said?.["id"] === "string" ? said["id"] : null;
  }

  lower = (id: string) => this.#ask("DELETE", `hands/${encodeURIComponent(id)}`);
  invite = (id: string) => this.#ask("POST", "invitations", { id });
  /** Takes an invitation back, or declines one. */
  uninvite = (id: string) => this.#ask("DELETE", `invitations/${encodeURIComponent(id)}`);
  accept = (id: string) => this.#ask("POST", `invitations/${encodeURIComponent(id)}/accept`);
  /** Off the stage: somebody else by the teacher, or oneself. */
  remove = (id: string) => this.#ask("DELETE", `people/${encodeURIComponent(id)}`);
  mute = (id: string, muted: boolean) => this.#ask("PUT", `people/${encodeURIComponent(id)}`, { muted });
  set = (change: { layout?: Layout; pinned?: string | null; locked?: boolean }) => this.#ask("PUT", "stage", change);
  end = () => this.#ask("POST", "end");

  /** What came after change `after`; the newest messages where that is null. */
  async chat(after: number | null, signal: AbortSignal): Promise<Page> {
    const answer = await fetch(this.#address("chat") + (after === null ? "" : `?after=${after}`), { signal });
    if (!answer.ok) throw new Declined(answer.status, null, null);
    return readPage(await answer.json());
  }

  /** Says something in the chat; returns its number. */
  async say(text: string, name: string): Promise<number | null> {
    const said = await this.#ask("POST", "chat", name ? { text, name } : { text });
    this.#learn(said);
    return typeof said?.["seq"] === "number" ? said["seq"] : null;
  }

  unsay = (seq: number) => this.#ask("DELETE", `chat/${seq}`);
  setChat = (change: { slow_s?: number; open?: boolean }) => this.#ask("PUT", "chat", change);

  /** A guest becomes somebody: for this tab, as the box says. */
  #learn(said: Record<string, unknown> | null): void {
    if (typeof said?.["token"] !== "string" || !said["token"]) return;
    this.#token = said["token"];
    keepToken(this.room, said["token"]);
  }

  #address(what: string): string {
    return `/api/v1/rooms/${encodeURIComponent(this.room)}/${what}`;
  }

  async #ask(method: string, what: string, body?: object): Promise<Record<string, unknown> | null> {
    let answer: Response;
    let said: string;
    try {
      const init: RequestInit = { method, cache: "no-store", headers: { ...bearer(this.#token), ...(body ? { "content-type": "application/json" } : {}) }, signal: AbortSignal.timeout(8000) };
      if (body) init.body = JSON.stringify(body);
      answer = await fetch(this.#address(what), init);
      said = await answer.text();
    } catch {
      throw new Declined(0, null, null);
    }
    if (!answer.ok) {
      throw new Declined(answer.status, detailOf(answer.headers.get("content-type"), said), retryAfter(answer.headers.get("retry-after"), Date.now()));
    }
    if (method !== "GET") this.acted();
    try {
      const value: unknown = said ? JSON.parse(said) : null;
      return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : null;
    } catch {
      return null;
    }
  }
}

/** Asks for the stage again and again; `near` says how often, `wanted` whether at all. Ends with `signal`. */
export class Follower {
  #nudged: (() => void) | null = null;
  #asked = -Infinity;

  constructor(
    readonly control: Control,
    readonly near: () => Nearness,
    readonly wanted: () => boolean,
    readonly heard: (stage: Stage) => void,
  ) {}

  /** Something was done that the next answer will show: asks sooner, though never twice within a second. */
  nudge(): void {
    this.#nudged?.();
  }

  async run(signal: AbortSignal): Promise<void> {
    // Pages that were opened by the same bell begin apart.
    await pause(jitter(400, 1, Math.random()), signal);
    while (!signal.aborted) {
      if (this.wanted()) {
        try {
          this.#asked = performance.now();
          const stage = await this.control.stage(AbortSignal.any([signal, AbortSignal.timeout(6000)]));
          if (!signal.aborted && this.wanted()) this.heard(stage);
        } catch {
          // The next one may come; whether the box is away, the picture tells better.
        }
      }
      await this.#rest(signal);
    }
  }

  async #rest(signal: AbortSignal): Promise<void> {
    const early = new AbortController();
    const stop = () => early.abort();
    signal.addEventListener("abort", stop, { once: true });
    this.#nudged = stop;
    await pauseUntilSeen(period(this.near(), document.hidden, Math.random()), early.signal);
    this.#nudged = null;
    signal.removeEventListener("abort", stop);
    // Woken early, by a nudge or because the page is looked at again: a second lies between two questions all the same.
    const since = performance.now() - this.#asked;
    if (since < 1000) await pause(1000 - since, signal);
  }
}
