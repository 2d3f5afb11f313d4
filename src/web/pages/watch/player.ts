// One class, played: hls.js with the settings of a live edge, its troubles sorted into those it mends itself and the
// one answer "lost", upon which the page asks the box anew. Knows nothing of panels or menus.
import Hls, {
  ErrorDetails,
  ErrorTypes,
  Events,
  type ErrorData,
  type HlsConfig,
  type Level,
  type LoadPolicy,
} from "hls.js";
import { BoxClock } from "../lib/clock";
import { choose, droppedOf, family, type Family, type Rung } from "../lib/levels";
import { pace, Target } from "../lib/pace";
import type { Rendition } from "../lib/room";
import { steady } from "./steady";

/** How a class's playing ended. */
export type Outcome = "ended" | "lost";

/** A rung that failed is left alone for so long, ms. */
const REST = 60_000;
/** Without a new picture for so long, while the reader wants one, something is wrong that hls.js does not see. */
const STUCK = 12_000;
/** The edge's figures are looked at so often, ms. */
const TICK = 250;
/** Frames are counted over so long, ms; more than this share of them not shown, and the codec is too much for the device. */
const COUNT = 6000;
const TOO_MANY = 0.2;

/** What a first guess of the bandwidth may be: a school's network carries the top rung, and one that cannot shows it within a second. */
function guess(): number {
  const connection = (navigator as { connection?: { downlink?: number } }).connection;
  return Math.min(5e6, (connection?.downlink ?? 5) * 1e6);
}

/** Retries start apart on every device: a thousand players lose the same box in the same instant. */
function patience(firstByte: number, whole: number, tries: number): LoadPolicy {
  const retry = {
    maxNumRetry: tries,
    retryDelayMs: 300 + Math.random() * 500,
    maxRetryDelayMs: 2000 + Math.random() * 2000,
    backoff: "exponential" as const,
  };
  return {
    default: {
      maxTimeToFirstByteMs: firstByte,
      maxLoadTimeMs: whole,
      timeoutRetry: retry,
      errorRetry: {
        ...retry,
        // What is gone stays gone (4xx); a connection refused (0) is a box that starts again.
        shouldRetry: (_config, count, _timeout, response) =>
          count < tries && !(response?.code !== undefined && response.code >= 400 && response.code < 500),
      },
    },
  };
}

function settings(wanted: Family): Partial<HlsConfig> {
  return {
    lowLatencyMode: true,
    // Parts are a third of a second and copied as they are: a worker would only add a hop.
    enableWorker: false,
    backBufferLength: 20,
    liveDurationInfinity: true,
    // The pace is ours (lib/pace.ts).
    maxLiveSyncPlaybackRate: 1,
    liveSyncOnStallIncrease: 0,
    abrEwmaDefaultEstimate: guess(),
    abrEwmaFastLive: 2,
    abrEwmaSlowLive: 6,
    ...(wanted === "av1" ? { videoPreference: { videoCodec: "av01" } } : {}),
    manifestLoadPolicy: patience(5000, 10_000, 2),
    // A blocking playlist request is held for up to three target durations by a box that has nothing new.
    playlistLoadPolicy: patience(13_000, 15_000, 4),
    fragLoadPolicy: patience(6000, 15_000, 3),
  };
}

export interface Observer {
  /** The picture moves. */
  playing(): void;
  /** It stopped for lack of media. */
  stalled(): void;
  /** Variants are known, or another one plays. */
  levels(): void;
  /** The browser does not start a video with sound by itself. */
  muted(): void;
}

export class Player {
  /** Measured over the page's life, and so shared by its players. */
  static readonly clock = new BoxClock();
  static readonly counts = { stalls: 0, stalledMs: 0, jumps: 0 };
  /** AV1 turned out to be too much for this device, whatever it said beforehand. */
  static tooSlow = false;
  static readonly errors: { at: number; details: string; fatal: boolean; words: string }[] = [];

  readonly #video: HTMLVideoElement;
  readonly #observer: Observer;
  readonly #hls: Hls;
  readonly #target = new Target();
  readonly #end = new AbortController();
  readonly #resting = new Map<number, number>();
  #renditions: readonly Rendition[] = [];
  #dropped = new Set<number>();
  readonly #wish: Family;
  #frames = { since: 0, shown: 0, dropped: 0 };
  /** The level chosen by hand; -1 is Auto. */
  #manual = -1;
  #settle: (outcome: Outcome) => void = () => undefined;
  #moved = 0;
  #lastTime = -1;
  #begun = false;
  #stalledAt: number | null = null;
  #mended = 0;
  #pausedAt: number | null = null;
  #byChoice = false;
  #idle = { end: 0, since: 0 };
  #loading = false;

  constructor(video: HTMLVideoElement, wanted: Family, observer: Observer) {
    this.#video = video;
    this.#observer = observer;
    this.#wish = wanted;
    this.#hls = new Hls({
      ...settings(this.#wanted),
      abrController: steady({ wanted: (own) => this.#choice(own), dead: (level) => this.#out().has(level) }),
    });
  }

  /** Plays the playlist at `url` until the class ends or is lost, or `signal` fires ("lost"). */
  async play(url: string, signal: AbortSignal): Promise<Outcome> {
    const outcome = new Promise<Outcome>((settle) => (this.#settle = settle));
    const stop = () => this.#settle("lost");
    signal.addEventListener("abort", stop, { once: true });
    this.#listen();
    this.#hls.loadSource(url);
    this.#hls.attachMedia(this.#video);
    this.#moved = performance.now();
    const ticking = setInterval(() => this.#tick(performance.now()), TICK);
    try {
      return await outcome;
    } finally {
      clearInterval(ticking);
      signal.removeEventListener("abort", stop);
      this.#resume(performance.now());
      this.#end.abort();
      this.#hls.destroy();
      this.#video.playbackRate = 1;
    }
  }

  get rungs(): (Rung & { index: number })[] {
    return this.#hls.levels.map((level, index) => ({ ...rungOf(level), index }));
  }
  /** Of the rung that is shown; -1 while none is. */
  get showing(): number {
    return this.#hls.currentLevel;
  }
  get manual(): number {
    return this.#manual;
  }
  /** Rungs that the box has given up. */
  get dropped(): ReadonlySet<number> {
    return this.#dropped;
  }
  get bandwidth(): number | null {
    const estimate = this.#hls.bandwidthEstimate;
    return Number.isFinite(estimate) ? Math.round(estimate) : null;
  }
  get latency(): number | null {
    return this.#begun && this.#hls.latestLevelDetails ? this.#hls.latency : null;
  }
  get target(): number | null {
    return this.#begun ? this.#hls.targetLatency : null;
  }
  get behindRoom(): number | null {
    const shown = this.#begun ? this.#hls.playingDate : null;
    const now = Player.clock.at(Date.now());
    return shown && now !== null ? (now - shown.getTime()) / 1000 : null;
  }
  get buffer(): number {
    const { buffered, currentTime } = this.#video;
    for (let i = 0; i < buffered.length; i++) {
      if (buffered.start(i) <= currentTime + 0.1 && buffered.end(i) > currentTime) return buffered.end(i) - currentTime;
    }
    return 0;
  }

  get #wanted(): Family {
    return Player.tooSlow ? "h264" : this.#wish;
  }

  /** Plays `index` and stays there; -1 gives the choice back to Auto. */
  select(index: number): void {
    this.#manual = index;
    this.#observer.levels();
  }

  /** What the box says of its rungs. */
  renditions(list: readonly Rendition[]): void {
    this.#renditions = list;
    this.#dropped = droppedOf(this.rungs, list);
    if (this.#dropped.has(this.#manual)) this.select(-1);
    else this.#observer.levels();
  }

  /** To where the class is now. */
  jump(): void {
    const edge = this.#hls.liveSyncPosition;
    this.#byChoice = false;
    if (edge === null) return;
    Player.counts.jumps++;
    this.#video.currentTime = edge;
    void this.start();
  }

  /** Plays, without sound where the browser wants a gesture first. */
  async start(): Promise<void> {
    try {
      await this.#video.play();
    } catch (error) {
      if (!(error instanceof DOMException) || error.name !== "NotAllowedError" || this.#video.muted) return;
      this.#video.muted = true;
      await this.#video.play().catch(() => undefined);
      this.#observer.muted();
    }
  }

  #listen(): void {
    const hls = this.#hls;
    const on = { signal: this.#end.signal };
    hls.on(Events.MANIFEST_PARSED, () => {
      this.#dropped = droppedOf(this.rungs, this.#renditions);
      const first = choose(this.rungs, this.#wanted, guess(), this.#out());
      if (first >= 0) hls.startLevel = first;
      this.#observer.levels();
      void this.start();
    });
    hls.on(Events.FRAG_LOADING, (_event, { frag }) => (this.#loading ||= frag.type === "main"));
    hls.on(Events.FRAG_BUFFERED, (_event, { frag }) => (this.#loading &&= frag.type !== "main"));
    hls.on(Events.LEVEL_SWITCHED, () => this.#observer.levels());
    hls.on(Events.LEVELS_UPDATED, () => this.#observer.levels());
    hls.on(Events.ERROR, (_event, data) => this.#trouble(data));
    const video = this.#video;
    video.addEventListener("ended", () => this.#settle("ended"), on);
    video.addEventListener("waiting", () => this.#pauseForMedia(performance.now()), on);
    video.addEventListener("playing", () => this.#resume(performance.now()), on);
    video.addEventListener(
      "pause",
      () => {
        // Browsers pause at the end by themselves, and when a source goes away.
        if (!video.ended && this.#begun) this.#pausedAt = performance.now();
      },
      on,
    );
    video.addEventListener("play", () => this.#unpaused(performance.now()), on);
  }

  /** After a short break the class goes on where it was left; after a long one, where it is. */
  #unpaused(now: number): void {
    if (this.#pausedAt === null) return;
    const away = now - this.#pausedAt;
    this.#pausedAt = null;
    this.#moved = now;
    if (away > 15_000) this.jump();
    else if (away > 700) this.#byChoice = true;
  }

  #pauseForMedia(now: number): void {
    if (!this.#begun || this.#video.seeking || this.#video.paused || this.#stalledAt !== null) return;
    this.#stalledAt = now;
    Player.counts.stalls++;
    this.#target.stalled(now);
    this.#observer.stalled();
  }

  #resume(now: number): void {
    if (this.#stalledAt === null) return;
    Player.counts.stalledMs += Math.round(now - this.#stalledAt);
    this.#stalledAt = null;
  }

  #tick(now: number): void {
    const video = this.#video;
    if (video.currentTime !== this.#lastTime) {
      this.#lastTime = video.currentTime;
      this.#moved = now;
      if (!video.paused && video.readyState >= HTMLMediaElement.HAVE_FUTURE_DATA) {
        if (!this.#begun || this.#stalledAt !== null) this.#observer.playing();
        this.#begun = true;
        this.#resume(now);
      }
    } else if (!video.paused && now - this.#moved > STUCK) {
      this.#note("stuck", true, `no new picture for ${STUCK / 1000} s`);
      return this.#settle("lost");
    }
    const details = this.#hls.latestLevelDetails;
    if (!details?.live || !this.#begun || video.paused || video.seeking) return;

    const part = details.partTarget || details.targetduration;
    const target = this.#target.seconds(now, details.partHoldBack || details.holdBack || 3 * part, part);
    if (this.#hls.targetLatency !== target) this.#hls.targetLatency = target;
    const { latency } = this.#hls;
    const decision = pace({ latency, target, buffer: this.buffer, rate: video.playbackRate, byChoice: this.#byChoice });
    if (decision.jump) this.jump();
    else if (video.playbackRate !== decision.rate) video.playbackRate = decision.rate;
    if (latency - target < 1) this.#byChoice = false;
    this.#count(now);
    this.#prod(now, part, details.edge);
  }

  /**
   * hls.js can lose its place at a segment's border: buffered up to a millionth of a second before it, it takes that
   * segment for unfinished, and waits while the next one is listed already. Told to load anew, it goes on.
   */
  #prod(now: number, part: number, edge: number): void {
    const end = this.#hls.mainForwardBufferInfo?.end ?? 0;
    if (this.#loading || Math.abs(end - this.#idle.end) > 0.01 || edge - end < 1.5 * part) this.#idle = { end, since: now };
    if (this.buffer > 0.7 || now - this.#idle.since < 2 * part * 1000) return;
    this.#idle = { end, since: now + 2000 };
    this.#note("idle", false, `nothing loaded after ${end.toFixed(3)}, while ${edge.toFixed(3)} is listed`);
    this.#hls.stopLoad();
    this.#hls.startLoad(-1, true);
  }

  /** Watches whether the device keeps up. What it promised in `decodingInfo` is one thing, thirty open tabs another. */
  #count(now: number): void {
    const last = this.#frames;
    if (now - last.since < COUNT) return;
    const { totalVideoFrames: shown, droppedVideoFrames: dropped } = this.#video.getVideoPlaybackQuality();
    this.#frames = { since: now, shown, dropped };
    // A window in the back shows nothing, a long gap counts two things at once, a new player begins at zero.
    if (document.hidden || now - last.since > 2 * COUNT || shown < last.shown) return;
    const of = shown - last.shown;
    const rung = this.rungs[this.showing];
    if (of < 60 || (dropped - last.dropped) / of <= TOO_MANY) return;
    if (this.#manual >= 0 || Player.tooSlow || !rung || family(rung.codec) === "h264") return;
    Player.tooSlow = true;
    this.#note("tooSlow", false, `${dropped - last.dropped} of ${of} frames not shown: H.264 from here on`);
  }

  /** Which rung should play; hls.js has an opinion of its own about those of one codec. */
  #choice(own: number): number {
    const out = this.#out();
    const has = (index: number) => index >= 0 && index < this.rungs.length && !out.has(index);
    if (has(this.#manual)) return this.#manual;
    const rung = this.rungs[own];
    if (rung && has(own) && family(rung.codec) === this.#wanted) return own;
    const other = choose(this.rungs, this.#wanted, this.bandwidth ?? guess(), out);
    const better = this.rungs[other];
    // Another codec than the wanted one is played because the wanted one is out; then hls.js goes on within that.
    if (rung && better && has(own) && family(better.codec) === family(rung.codec)) return own;
    return other >= 0 ? other : own;
  }

  #out(): Set<number> {
    const now = performance.now();
    for (const [index, until] of this.#resting) if (until < now) this.#resting.delete(index);
    return new Set([...this.#dropped, ...this.#resting.keys()]);
  }

  #trouble(data: ErrorData): void {
    this.#note(data.details, data.fatal, data.error?.message ?? "");
    if (!data.frag || data.frag.type === "main") this.#loading = false;
    const code = data.response?.code ?? 0;
    const level = data.frag?.level ?? data.level ?? data.context?.level ?? undefined;
    const ofPicture = data.frag ? data.frag.type === "main" : true;
    if (!data.fatal) {
      const gone = data.details === ErrorDetails.FRAG_GAP || (data.type === ErrorTypes.NETWORK_ERROR && code >= 400 && code < 500);
      if (gone && ofPicture && typeof level === "number" && this.#hls.levels.length > 1) {
        // Away from a rung that gives nothing, chosen by hand or not: a smaller picture is better than none.
        this.#resting.set(level, performance.now() + REST);
        if (this.#manual === level) this.select(-1);
      }
      return;
    }
    if (data.type === ErrorTypes.MEDIA_ERROR && performance.now() - this.#mended > 10_000) {
      this.#mended = performance.now();
      this.#hls.recoverMediaError();
      void this.start();
      return;
    }
    this.#settle("lost");
  }

  #note(details: string, fatal: boolean, words: string): void {
    Player.errors.push({ at: Date.now(), details, fatal, words: words.slice(0, 200) });
    if (Player.errors.length > 50) Player.errors.shift();
  }
}

function rungOf(level: Level): Rung {
  return { width: level.width, height: level.height, bitrate: level.bitrate, codec: level.videoCodec || level.codecs };
}

/** Whether AV1 plays smoothly here, asked of the browser for the biggest rung that the box makes. */
export async function decodesAv1(): Promise<{ supported: boolean; smooth: boolean; powerEfficient: boolean } | null> {
  try {
    return await navigator.mediaCapabilities.decodingInfo({
      type: "media-source",
      video: { contentType: 'video/mp4; codecs="av01.0.05M.08"', width: 1280, height: 720, bitrate: 2_000_000, framerate: 30 },
    });
  } catch {
    return null;
  }
}
