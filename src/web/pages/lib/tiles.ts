// The stage as tiles: this page's own pictures and everybody else's, received by WHEP. The roster says who is there;
// each tile keeps its own connection, and tells the box how high it is shown.
import { arrange } from "./arrange";
import { icon } from "./icons";
import type { Media } from "./layers";
import { make, say } from "./page";
import type { Person, Stage } from "./stage";
import { Subscription } from "./whep";

export interface TilesOptions {
  room: string;
  token: () => string | null;
  /** Buttons on somebody's tile; made once a tile, and asked to show a change of theirs. */
  tools?: (person: Person, media: Media) => Tools | null;
  /** A browser that wants a gesture before sound plays muted, and says so here. */
  silent?: () => void;
}

export interface Tools {
  element: HTMLElement;
  update(person: Person, stage: Stage): void;
}

interface Tile {
  person: Person;
  media: Media;
  element: HTMLElement;
  video: HTMLVideoElement;
  name: HTMLElement;
  subscription: Subscription;
  tools: Tools | null;
  inView: boolean;
}

export class Tiles {
  readonly #box: HTMLElement;
  readonly #options: TilesOptions;
  /** This page's own tiles, in the page's order; hidden ones take no place. */
  readonly #own: HTMLElement[];
  readonly #tiles = new Map<string, Tile>();
  readonly #sizes: ResizeObserver;
  readonly #seen: IntersectionObserver;
  readonly #end = new AbortController();
  #speaker: string | null = null;
  #me: string | null = null;

  constructor(box: HTMLElement, own: HTMLElement[], options: TilesOptions) {
    this.#box = box;
    this.#own = own;
    this.#options = options;
    this.#sizes = new ResizeObserver(() => this.#place());
    this.#sizes.observe(box);
    this.#seen = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const tile = [...this.#tiles.values()].find(({ element }) => element === entry.target);
        if (tile) tile.inView = entry.isIntersecting;
      }
      this.#view();
    });
    document.addEventListener("visibilitychange", () => this.#view(), { signal: this.#end.signal });
  }

  /** Shows who is on stage. `me`: whose own pictures this page shows itself. */
  update(stage: Stage, me: string | null): void {
    this.#me = me;
    const wanted = new Map<string, { person: Person; media: Media }>();
    for (const person of stage.people) {
      if (person.id === me) continue;
      if (person.screen) wanted.set(`${person.id}/screen`, { person, media: "screen" });
      if (person.camera) wanted.set(`${person.id}/camera`, { person, media: "camera" });
    }
    for (const [key, tile] of this.#tiles) if (!wanted.has(key)) this.#drop(key, tile);
    for (const [key, { person, media }] of wanted) {
      const tile = this.#tiles.get(key) ?? this.#add(key, person, media);
      tile.person = person;
      const name = this.#nameOf(person, media);
      if (tile.name.textContent !== name) tile.name.textContent = name;
      tile.element.dataset["face"] = initial(person.name);
      tile.element.dataset["muted"] = String(person.muted && media === "camera");
      tile.tools?.update(person, stage);
    }
    this.#speaker = stage.speaker;
    for (const tile of this.#tiles.values()) tile.element.dataset["speaking"] = String(tile.media === "camera" && tile.person.id === this.#speaker);
    this.#place();
  }

  /** Something of this page's own appeared or went. */
  place(): void {
    this.#place();
  }

  /** A gesture happened: sound may play now. */
  unmute(): void {
    for (const { video } of this.#tiles.values()) {
      video.muted = false;
      void video.play().catch(() => undefined);
    }
  }

  get count(): number {
    return this.#tiles.size;
  }

  stop(): void {
    this.#end.abort();
    for (const [key, tile] of this.#tiles) this.#drop(key, tile);
    this.#sizes.disconnect();
    this.#seen.disconnect();
  }

  #nameOf(person: Person, media: Media): string {
    const name = person.name || say(person.role === "teacher" ? "stage.teacher" : "stage.somebody");
    return media === "screen" ? say("stage.screen-of", { name }) : name;
  }

  #add(key: string, person: Person, media: Media): Tile {
    const video = make("video");
    video.playsInline = true;
    video.autoplay = true;
    const name = make("span", { class: "who" });
    const muted = make("span", { class: "silent" }, icon("mic-off"), make("span", { class: "heard", text: say("stage.muted") }));
    const element = make("figure", { class: "tile" }, video, make("span", { class: "wait", text: say("stage.connecting") }), make("figcaption", {}, muted, name));
    element.dataset["person"] = person.id;
    element.dataset["picture"] = "false";
    // Sound alone has no size; a picture has, from its first frame on.
    video.addEventListener("resize", () => (element.dataset["picture"] = String(video.videoWidth > 0)));
    element.dataset["media"] = media;
    const tools = this.#options.tools?.(person, media) ?? null;
    if (tools) element.append(tools.element);
    const subscription = new Subscription(
      this.#options.room,
      person.id,
      media,
      this.#options.token,
      (stream) => this.#play(video, stream),
      (state) => (element.dataset["state"] = state),
    );
    const tile: Tile = { person, media, element, video, name, subscription, tools, inView: true };
    this.#tiles.set(key, tile);
    this.#box.append(element);
    this.#seen.observe(element);
    return tile;
  }

  #play(video: HTMLVideoElement, stream: MediaStream | null): void {
    // The last picture stays until another comes: a lost connection is no black hole.
    if (!stream || video.srcObject === stream) return;
    video.srcObject = stream;
    video.play().catch((error: unknown) => {
      if (!(error instanceof DOMException) || error.name !== "NotAllowedError" || video.muted) return;
      video.muted = true;
      void video.play().catch(() => undefined);
      this.#options.silent?.();
    });
  }

  #drop(key: string, tile: Tile): void {
    this.#tiles.delete(key);
    this.#seen.unobserve(tile.element);
    tile.subscription.stop();
    tile.video.srcObject = null;
    // Whoever stood on one of its buttons must not fall off the page.
    if (tile.element.contains(document.activeElement)) this.#box.focus();
    tile.element.remove();
  }

  #place(): void {
    const shown = [...this.#own.filter((one) => !one.hidden), ...[...this.#tiles.values()].map((tile) => tile.element)];
    const { clientWidth: width, clientHeight: height } = this.#box;
    const large = shown.findIndex((one) => one.dataset["media"] === "screen");
    this.#box.dataset["count"] = String(shown.length);
    const rects = arrange(shown.length, large < 0 ? null : large, width, height, width < 500 ? 4 : 8);
    shown.forEach((element, i) => {
      const rect = rects[i];
      if (!rect) return;
      for (const side of ["width", "height"] as const) element.style[side] = `${rect[side].toFixed(1)}px`;
      element.style.transform = `translate(${rect.x.toFixed(1)}px, ${rect.y.toFixed(1)}px)`;
      // Only what has room for its tools shows them all the time.
      element.dataset["size"] = rect.height < 110 ? "small" : "large";
    });
    const own = this.#own[0];
    if (own && this.#me) own.dataset["speaking"] = String(this.#speaker === this.#me);
    this.#view();
  }

  #view(): void {
    const pixels = Math.min(window.devicePixelRatio || 1, 2);
    for (const { subscription, element, inView } of this.#tiles.values()) {
      const height = document.hidden || !inView ? 0 : Number.parseFloat(element.style.height) * pixels;
      if (Number.isFinite(height)) subscription.view(height);
    }
  }
}

/** What stands where there is no picture. */
export function initial(name: string): string {
  return [...name.trim()][0]?.toLocaleUpperCase() ?? "·";
}
