// A viewer's seat: hand up, called up, on stage, back again. Wires the states (watch/way.ts) to the box, the devices and
// what the page shows. While the reader is on stage the class's own picture is not played: `stage` says when.
import { askName } from "../lib/ask";
import { Chat } from "../lib/chat";
import { Declined, Follower, type Control } from "../lib/control";
import { screen, trouble } from "../lib/devices";
import { icon } from "../lib/icons";
import type { Key } from "../lib/messages";
import { at, say } from "../lib/page";
import { Publisher, type State } from "../lib/publish";
import type { Nearness, Stage } from "../lib/stage";
import { Tiles } from "../lib/tiles";
import { roleOf } from "../lib/token";
import { showBar } from "./bar";
import { Check, type Ready } from "./check";
import { go, hear, START, type News, type Way } from "./way";

export interface SeatOptions {
  /** The class runs, as far as the page knows. */
  live: () => boolean;
  /** The reader goes on stage (true), or comes back. */
  stage: (on: boolean) => void;
}

/** So old an answer may be, at most, that was given before one turned one's own microphone off or on, ms. */
const HUSHED = 2500;

const TOLD: Record<Exclude<News, "called">, Key> = {
  withdrawn: "watch.told.withdrawn",
  dismissed: "watch.told.dismissed",
  muted: "watch.told.muted",
  unmuted: "watch.told.unmuted",
  gone: "watch.told.gone",
  over: "watch.told.over",
};

export class Seat {
  readonly #control: Control;
  readonly #options: SeatOptions;
  readonly #follower: Follower;
  readonly #chat: Chat;
  readonly #check = new Check();
  readonly #publisher: Publisher;
  readonly #sharer: Publisher;
  #way: Way = START;
  #stage: Stage | null = null;
  /** Their link lets them speak. */
  readonly #speaks: boolean;
  /** The box knows them by name. */
  #named = false;
  /** May go on stage without a hand: by their link, or because they were there before a reload. */
  #may = false;
  #tiles: Tiles | null = null;
  #have: Ready = { microphone: null, camera: null };
  #screen: MediaStreamTrack | null = null;
  #quiet = false;
  #covered = false;
  /** When they last turned their microphone off or on themselves. */
  #hushed = -Infinity;
  #asking = false;

  constructor(control: Control, options: SeatOptions) {
    this.#control = control;
    this.#options = options;
    this.#speaks = ["teacher", "speaker", "admin"].includes(roleOf(control.token()) ?? "");
    this.#may = this.#speaks;
    this.#follower = new Follower(control, () => this.#near, options.live, (stage) => this.#heard(stage));
    control.acted = () => this.#follower.nudge();
    this.#publisher = new Publisher(control.room, "camera", control.token, (state) => this.#line(state));
    this.#sharer = new Publisher(control.room, "screen", control.token, (state) => {
      if (state.is === "refused") void this.#unshare("watch.told.no-share");
    });
    this.#chat = new Chat(at("chat-body"), {
      control,
      name: () => this.#name(),
      teacher: false,
      unread: (count) => this.#unread(count),
    });
    at("raise").addEventListener("click", () => void this.#press());
    at("join").addEventListener("click", () => void this.#join());
    at("decline").addEventListener("click", () => void this.#decline());
    at("leave").addEventListener("click", () => void this.#stepDown());
    at("mic").addEventListener("click", () => void this.#hush());
    at("cam").addEventListener("click", () => ((this.#covered = !this.#covered), this.#apply()));
    at("share").addEventListener("click", () => void (this.#screen ? this.#unshare() : this.#share()));
    at("chat-toggle").addEventListener("click", () => this.#fold(!at("chat").hidden));
    at("chat-close").addEventListener("click", () => (this.#fold(true), at("chat-toggle").focus()));
    at("chat").addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#fold(true), at("chat-toggle").focus();
    });
    at("chat-icon").append(icon("chat"));
    at("chat-close").append(icon("close"));
    at("check-mic").append(icon("mic"));
    window.addEventListener("pagehide", () => (this.#publisher.abandon(), this.#sharer.abandon()));
    window.addEventListener("beforeunload", (event) => {
      if (this.#way.where === "stage") event.preventDefault();
    });
    document.addEventListener("pointerdown", () => this.#tiles?.unmute());
    this.#show();
  }

  /** Follows the class until `signal`. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#recall();
    await this.#follower.run(signal);
  }

  get where(): string {
    return this.#way.where;
  }

  get onRoster(): boolean {
    return this.#way.where === "stage" && this.#way.seen;
  }

  /** The class is on, or over. */
  changed(live: boolean): void {
    if (!live) {
      this.#check.cancel();
      if (this.#way.where !== "audience") void this.#back(this.#way.where === "stage" || this.#way.where === "joining" ? "over" : null);
      this.#stage = null;
    }
    this.#show();
  }

  get #near(): Nearness {
    const { where } = this.#way;
    if (where === "stage" || where === "joining") return "on-stage";
    if (where !== "audience") return "waiting";
    return this.#chat.open ? "reading" : "watching";
  }

  /** Who this tab is, where it was somebody before: a reload, or a link with a token. */
  async #recall(): Promise<void> {
    try {
      const me = await this.#control.me();
      if (!me) return;
      this.#named = me.name !== "";
      this.#may ||= me.state === "stage";
      this.#way = go(this.#way, me.state === "hand" ? "hand" : "audience", performance.now(), { me: me.id });
    } catch {
      // A token that is no good any more is as none.
    }
    this.#show();
  }

  #heard(stage: Stage): void {
    if (!this.#options.live() && this.#way.where !== "stage") return;
    this.#stage = stage;
    // What one just did with one's own microphone is known better here than in an answer from before.
    const fresh = performance.now() - this.#hushed < HUSHED;
    const { muted } = this.#way;
    const people = fresh ? stage.people.map((person) => (person.id === this.#way.me ? { ...person, muted } : person)) : stage.people;
    const { way, news, doubt } = hear(this.#way, { ...stage, people }, performance.now());
    this.#way = way;
    if (news && news !== "called") this.#tell(news);
    if (news === "withdrawn") this.#check.cancel();
    if (news === "called") this.#called();
    if (doubt) void this.#doubt();
    this.#chat.update(stage);
    this.#tiles?.update(stage, way.me);
    if (way.where === "stage" && !stage.live) void this.#doubt();
    this.#show();
  }

  /** The small answer leaves open what became of this reader: the box knows. */
  async #doubt(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    try {
      const before = this.#way.where;
      const me = await this.#control.me();
      if (before !== this.#way.where) return;
      if (before === "hand" && me?.state === "audience") {
        this.#way = go(this.#way, "audience", performance.now());
        if (at("told").dataset["told"] !== TOLD.withdrawn) this.#tell("dismissed");
      } else if (before === "hand") this.#way = { ...this.#way, since: performance.now() };
      else if (before === "stage" && me?.state !== "stage") await this.#back(this.#stage?.live === false ? "over" : "gone");
    } catch (error) {
      // Nobody any more, as far as the box is concerned.
      if (error instanceof Declined && (error.status === 401 || error.status === 403) && this.#way.where === "stage") await this.#back("gone");
    } finally {
      this.#asking = false;
    }
    this.#show();
  }

  // ---- what the reader does

  #name(): Promise<string | null> {
    return this.#named ? Promise.resolve("") : askName(at<HTMLDialogElement>("name-dialog"));
  }

  async #press(): Promise<void> {
    const button = at<HTMLButtonElement>("raise");
    // Whose link says that they may speak needs no hand.
    if (this.#way.where === "audience" && this.#may) return this.#enter(false);
    button.disabled = true;
    try {
      if (this.#way.where === "hand") {
        if (this.#way.me) await this.#control.lower(this.#way.me);
        this.#way = go(this.#way, "audience", performance.now());
        this.#say("watch.told.lowered");
      } else {
        const name = await this.#name();
        if (name === null) return;
        const me = await this.#control.raise(name);
        this.#way = go(this.#way, "hand", performance.now(), { me: me ?? this.#way.me, declined: null });
        this.#say("watch.told.raised");
      }
    } catch (error) {
      this.#sorry(error);
    } finally {
      button.disabled = false;
      this.#show();
    }
  }

  async #decline(): Promise<void> {
    const { me } = this.#way;
    this.#way = go(this.#way, "audience", performance.now(), { declined: performance.now() });
    this.#say("watch.told.declined");
    this.#show();
    at("raise").focus();
    if (me) await this.#control.uninvite(me).catch(() => undefined);
  }

  /** Called up: a look at the devices, then on stage. */
  async #join(): Promise<void> {
    if (this.#way.where !== "called") return;
    return this.#enter(true);
  }

  async #enter(invited: boolean): Promise<void> {
    this.#way = go(this.#way, "checking", performance.now());
    this.#show();
    const ready = await this.#check.run();
    // The invitation may be gone meanwhile, or the class.
    if (this.#way.where !== "checking") return ready ? close(ready) : undefined;
    if (!ready) return invited ? this.#decline() : this.#back(null);
    this.#way = go(this.#way, "joining", performance.now());
    this.#have = ready;
    this.#quiet = this.#covered = false;
    this.#say("watch.told.joining");
    try {
      if (invited && this.#way.me) await this.#control.accept(this.#way.me);
    } catch (error) {
      await this.#back(null);
      if (error instanceof Declined && error.status === 410) return this.#say("watch.told.withdrawn");
      return this.#sorry(error);
    }
    // Everything at once from here: the class falls silent, this reader is sent, the others are asked for.
    this.#options.stage(true);
    at("tiles").hidden = false;
    this.#tiles = new Tiles(at("tiles"), [at("own"), at("own-screen")], { room: this.#control.room, token: this.#control.token });
    this.#apply();
    void this.#publisher.start();
    if (this.#stage) this.#tiles.update(this.#stage, this.#way.me);
    this.#show();
    at("tiles").focus();
  }

  async #stepDown(): Promise<void> {
    const { me } = this.#way;
    await this.#back(null);
    this.#say("watch.told.stepped");
    at("raise").focus();
    if (me) await this.#control.remove(me).catch(() => undefined);
  }

  /** Down from the stage, and back to the class at its edge. */
  async #back(news: keyof typeof TOLD | null): Promise<void> {
    const before = this.#way.where;
    this.#way = go(this.#way, "audience", performance.now());
    // Who was called up once must be called up again; whose link says so may come back.
    this.#may = this.#speaks && news !== "gone";
    if (news) this.#tell(news);
    this.#tiles?.stop();
    this.#tiles = null;
    at("tiles").hidden = true;
    close(this.#have);
    this.#have = { microphone: null, camera: null };
    this.#screen?.stop();
    this.#screen = null;
    at("own-screen").hidden = true;
    at<HTMLVideoElement>("own-video").srcObject = null;
    at<HTMLVideoElement>("own-screen-video").srcObject = null;
    if (before === "stage" || before === "joining") this.#options.stage(false);
    this.#show();
    await Promise.all([this.#publisher.stop(), this.#sharer.stop()]);
  }

  /** How the line to the box is. */
  #line(state: State): void {
    at("own").dataset["state"] = state.is === "live" ? "connected" : "connecting";
    const { where } = this.#way;
    if (state.is === "live" && where === "joining") {
      this.#way = go(this.#way, "stage", performance.now());
      this.#say("watch.told.on-stage");
      this.#follower.nudge();
    } else if (state.is === "reconnecting" && where === "stage") {
      this.#say("teach.health.away");
      void this.#doubt();
    } else if (state.is === "refused" && (where === "stage" || where === "joining")) {
      void this.#back(where === "stage" && state.why === "token" ? "gone" : null).then(() => {
        if (where === "joining" || state.why !== "token") this.#say(state.why === "taken" ? "watch.told.full" : "watch.told.refused");
      });
    }
    this.#show();
  }

  #apply(): void {
    const { camera, microphone } = this.#have;
    if (microphone) microphone.enabled = !this.#quiet;
    if (camera) camera.enabled = !this.#covered;
    const own = at<HTMLVideoElement>("own-video");
    const shown = own.srcObject instanceof MediaStream ? own.srcObject.getVideoTracks()[0] : undefined;
    if (shown !== (camera ?? undefined)) own.srcObject = camera ? new MediaStream([camera]) : null;
    at("own").dataset["source"] = camera && !this.#covered ? "camera" : "none";
    void this.#publisher.send(microphone, camera);
    this.#show();
  }

  /** Their own microphone: silent at once here, and told to the box, so that everybody sees it. */
  async #hush(): Promise<void> {
    const quiet = (this.#quiet = !this.#quiet);
    this.#apply();
    const { me, where } = this.#way;
    if (!me || where !== "stage") return;
    try {
      await this.#control.mute(me, quiet);
      this.#hushed = performance.now();
      this.#way = { ...this.#way, muted: quiet };
      this.#show();
    } catch (error) {
      // What the teacher turned off, only the teacher turns on.
      if (!quiet && error instanceof Declined && error.status === 403) this.#tell("muted");
    }
  }

  async #share(): Promise<void> {
    try {
      const got = await screen();
      got.sound?.stop();
      if (this.#way.where !== "stage") return got.picture.stop();
      this.#screen = got.picture;
      got.picture.addEventListener("ended", () => {
        if (this.#screen === got.picture) void this.#unshare();
      });
      at<HTMLVideoElement>("own-screen-video").srcObject = new MediaStream([got.picture]);
      at("own-screen").hidden = false;
      this.#tiles?.place();
      await this.#sharer.send(null, got.picture);
      void this.#sharer.start();
    } catch (error) {
      if (trouble(error, true) !== "cancelled") this.#say("watch.told.no-share");
    }
    this.#show();
  }

  async #unshare(why: Key | null = null): Promise<void> {
    this.#screen?.stop();
    this.#screen = null;
    at("own-screen").hidden = true;
    this.#tiles?.place();
    if (why) this.#say(why);
    this.#show();
    await this.#sharer.stop();
  }

  // ---- what the page shows

  #called(): void {
    // A picture that fills the screen would hide the question.
    at("told").textContent = "";
    if (document.fullscreenElement) void document.exitFullscreen().catch(() => undefined);
    this.#show();
    at("join").focus({ preventScroll: false });
  }

  #tell(news: keyof typeof TOLD): void {
    this.#say(TOLD[news]);
  }

  #say(key: Key): void {
    at("told").textContent = say(key);
    at("told").dataset["told"] = key;
  }

  #sorry(error: unknown): void {
    const { status, detail } = error instanceof Declined ? error : { status: 0, detail: null };
    this.#say(status === 429 ? "watch.told.often" : status === 409 ? "watch.told.locked" : status === 0 ? "watch.away.title" : "stage.failed");
    if (status !== 429 && status !== 409 && detail) at("told").textContent += ` (${detail})`;
  }

  #unread(count: number): void {
    const badge = at("chat-count");
    badge.hidden = count === 0;
    const text = count > 99 ? "99+" : String(count);
    if (badge.textContent === text) return;
    badge.textContent = text;
    badge.setAttribute("aria-label", say("chat.unread", { count: text }));
  }

  #fold(folded: boolean): void {
    at("chat").hidden = folded;
    at("chat-toggle").setAttribute("aria-expanded", String(!folded));
    document.body.dataset["chat"] = String(!folded);
    this.#chat.show(!folded);
    if (!folded) this.#follower.nudge();
  }

  #show(): void {
    const live = this.#options.live();
    const { where } = this.#way;
    showBar({
      where,
      live,
      may: this.#may,
      locked: this.#stage?.locked === true,
      silenced: this.#way.muted,
      quiet: this.#quiet,
      covered: this.#covered,
      have: this.#have,
      sharing: this.#screen !== null,
    });
    if (!live && where !== "stage" && where !== "joining" && !at("chat").hidden) this.#fold(true);
  }
}

function close({ camera, microphone }: Ready): void {
  camera?.stop();
  microphone?.stop();
}
